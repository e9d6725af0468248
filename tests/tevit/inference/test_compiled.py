"""A compiled model: the same outputs; where compiling fails it runs uncompiled, with a warning."""

from typing import Any

import pytest
import torch

from tests.fakes import FakeModel, squares, write_frames
from tevit.inference import predictor as compiled
from tevit.inference.predictor import CompiledModel, Predictor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def reset_compiler():
    """Clear PyTorch's traces, which it counts by function, not by model."""
    torch.compiler.reset()


def clip(length: int) -> Any:
    return torch.rand(1, length, 3, 64, 96, generator=torch.Generator().manual_seed(length)), torch.tensor([[64, 96]])


def assert_same(model: Any, plain: Any, length: int) -> None:
    """Compare the last stage and some masks."""
    with torch.inference_mode():
        output, expected = model(*clip(length))[-1], plain(*clip(length))[-1]
        rows = torch.arange(length)
        masks = [each.mask_logits(output, rows, rows % 3) for each in (model, plain)]
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masks[0], masks[1], rtol=1e-4, atol=1e-4)


def failing_backend(*_: Any) -> Any:
    raise OSError("no compiler here")


def test_outputs_are_the_same_and_further_sizes_run_uncompiled(tiny_model, monkeypatch):
    monkeypatch.setattr(compiled, "MAX_SIZES", 1)
    graphs = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = CompiledModel(tiny_model, CPU, counting)
    assert model.must_compile(2, (64, 96))
    for length in (2, 3, 2):
        assert_same(model, tiny_model, length)
    assert len(graphs) == 2, "the stages are one program, the masks another: nothing in between asks the host"
    assert not model.must_compile(2, (64, 96)) and not model.must_compile(3, (64, 96)) and not model.failure


def test_without_a_compiler_a_video_is_segmented_uncompiled(tmp_path):
    video = squares(30, (96, 160), (lambda t: (5, 5), lambda t: None, lambda t: None))
    folder, stages = write_frames(tmp_path / "v", video), []
    predictor = Predictor(FakeModel())
    plain = predictor(folder, window=12)
    predictor.model = CompiledModel(FakeModel(), CPU, failing_backend)
    result = predictor(folder, window=12, progress=lambda stage, done, total: stages.append(stage))
    assert stages[0] == "compiling" and set(stages[2:]) == {"segmenting"}
    assert [track.rles for track in result.tracks] == [track.rles for track in plain.tracks]
    assert len(predictor.warnings) == 1
    assert "OSError: no compiler here" in predictor.warnings[0] and "runs as it is" in predictor.warnings[0]


@pytest.mark.slow
def test_with_the_default_compiler(tiny_model):
    model = CompiledModel(tiny_model, CPU)
    assert_same(model, tiny_model, 3)
    assert not model.failure
