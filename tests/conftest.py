"""Fixtures for all tests."""

import gc
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright

gc.disable()  # until all tests are collected: a third of that time
if "PYTEST_XDIST_WORKER" in os.environ:  # two tests at a time on two cores: a thread for each, before torch is there
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(variable, "1")
# Read as a process starts, here the workers and all that they start: glibc keeps what was freed. Otherwise every large
# tensor is memory that the system has to empty first, a quarter of the time of a full-size model.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(8 << 30))
# The same cases in each run, so that a change fails for its own faults; `--hypothesis-profile default` draws others.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")
UNUSED_FEATURES = (
    "AutofillServerCommunication",
    "BackForwardCache",
    "GlobalMediaControls",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "OptimizationHints",
    "PaintHolding",
    "SpareRendererForSitePerProcess",
    "Translate",
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--process-per-site",  # a page that loads has what an open one of the same user has compiled
    # What a page of the studio has no use for takes a third of the processor's time of an opening.
    "--disable-extensions",
    "--disable-site-isolation-trials",
    "--disable-client-side-phishing-detection",
    f"--disable-features={','.join(UNUSED_FEATURES)}",
    "--js-flags=--min-semi-space-size=32",  # MB: fewer garbage collections
)


def pytest_collection_finish() -> None:
    """Leave what is there by now, a million objects, out of all garbage collections."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Otherwise extension modules report the objects as leaks when the process ends."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny_model():
    """A whole TeViT of a few thousand parameters, its values made by seed."""
    import torch

    from tests.train.tiny import STEADY
    from tevit.configs import TEVIT_MSGSHIFT
    from tevit.model.tevit import TeViT

    torch.manual_seed(7)
    return TeViT(replace(STEADY, categories=TEVIT_MSGSHIFT.categories)).eval()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's or anybody's chromium, one for the whole run; without one the tests fail."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "the browser tests need chromium on the PATH"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield running
        running.close()
