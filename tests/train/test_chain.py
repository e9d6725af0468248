"""The whole chain against the original's record: from a JSON file and pictures on disk to the losses."""

from dataclasses import replace

import pytest
import torch

from tests import oracle
from tests.train.original import chain_batch, golden, open_chain
from tevit.checkpoint import empty_model, from_original
from tevit.configs import TEVIT_MSGSHIFT
from train.losses import SlotLoss, Weights, count_positives

NAMES = {"class": "loss_cls", "l1": "loss_bbox", "giou": "loss_iou", "dice": "loss_mask"}
CONFIG = replace(TEVIT_MSGSHIFT, backbone=replace(TEVIT_MSGSHIFT.backbone, drop_path=0.0))


def losses_of(root) -> dict[str, torch.Tensor]:
    model = empty_model(CONFIG, all_masks=True)
    state = {key: torch.from_numpy(value) for key, value in oracle.state_arrays(oracle.manifest("msgshift")).items()}
    model.load_state_dict(from_original(state, "pvt_v2", model.state_dict()), assign=True)
    batch = chain_batch(open_chain(root))
    positives = count_positives(batch.targets, CONFIG.queries)
    return SlotLoss(model.train(), Weights(2.0, 5.0, 2.0, 8.0))(batch, positives)


@pytest.mark.slow  # each half has its quick test: test_data.py up to the batch, bit for bit, the rest from there on
def test_losses_of_files_on_disk_are_the_recorded_ones(tmp_path):
    record = golden("chain")
    with torch.no_grad():
        losses = losses_of(tmp_path)
    assert len(losses) == len(record["losses"]) == 24
    for name, value in losses.items():
        stage, kind = name.split("_")
        assert value.item() == pytest.approx(record["losses"][f"{stage}_{NAMES[kind]}"], rel=1e-5), name
    assert sum(value.item() for value in losses.values()) == pytest.approx(record["total_loss"], rel=1e-5)
