"""What comes after the decisions, without a browser: AP can be cancelled, and worked out afterwards."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.player.routes import ViewRegistry
from app.projects.opening import BUNDLED, open_project
from app.tabs.review import benchmark
from app.tabs.review import views as panels
from app.tabs.review.after import After
from app.tabs.review.layout import build_layout
from app.tabs.review.session import Reviewing

REQUEST: Any = SimpleNamespace(session_hash="page")


@pytest.fixture
def after(tmp_path: Path) -> After:
    found = BUNDLED / "predictions" / "tevit_demo.json"
    project = open_project(BUNDLED / "valid_with_errors.json", BUNDLED, [found], tmp_path / "project")
    with gr.Blocks():
        return After(build_layout(), Reviewing(project), ViewRegistry())


def compared(after: After, cancelled: bool) -> list[Any]:
    async def run() -> list[Any]:
        said = []
        async for updates in after.compared(REQUEST):
            said.append(updates)
            if cancelled:
                after.cancel(REQUEST)
        return said

    return asyncio.run(run())


def test_ap_before_and_after_can_be_cancelled(after: After):
    parts = after.parts
    said = compared(after, cancelled=True)
    assert "%" in said[0][parts.after] and said[0][parts.cancel].visible and not said[0][parts.compare].visible
    assert said[-1][parts.after] == panels.CANCELLED
    assert said[-1][parts.compare].visible and not said[-1][parts.cancel].visible
    again = compared(after, cancelled=False)[-1]
    assert "<table" in again[parts.after] and "tevit_demo" in again[parts.after]


def test_the_benchmark_measures(capsys: pytest.CaptureFixture):
    benchmark.main(["--videos", "4", "--decisions", "30"])
    measured = json.loads(capsys.readouterr().out)
    assert measured["decisions"] == 30 and 0 < measured["decision_seconds"] <= measured["slowest_decision_seconds"]
