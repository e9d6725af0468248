"""Fixtures for all tests."""

from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def tiny_model():
    """A whole TeViT of a few thousand parameters, its values made by seed."""
    import torch

    from tevit.configs import TEVIT_MSGSHIFT
    from tevit.model.tevit import TeViT

    backbone = replace(
        TEVIT_MSGSHIFT.backbone, dims=(8, 16, 24, 32), heads=(1, 1, 2, 2), depths=(2, 2, 2, 2), messengers=8
    )
    config = replace(
        TEVIT_MSGSHIFT,
        name="tiny",
        backbone=backbone,
        queries=6,
        stages=2,
        channels=16,
        heads=2,
        ffn_channels=32,
        dynamic_channels=8,
        scale=(64, 96),
    )
    torch.manual_seed(7)
    return TeViT(config).eval()
