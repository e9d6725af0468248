"""Videos predicted to disk: the same as in memory, resumed after a kill, at constant memory, from a pipe."""

import gc
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

import tevit
from tests.fakes import SURE, UNSURE, FakeModel, squares, write_frames
from tests.long import again_and_again, clips
from tests.processes import run_python
from tevit.benchmarks import speed as benchmark
from tevit.configs import PredictOptions
from tevit.inference.predictor import Predictor
from tevit.inference.stream_file import LINES, STATE, discard, stream_to_folder, write_long_results
from tevit.io.ytvis import write_results
from tevit.model.backbones import Pyramid
from tevit.model.tevit import StageOutput
from tevit.progress import Cancelled
from tevit.results import WindowResult, write_csv
from tevit.video.reader import Frame, Video, open_pipe, open_video

OPTIONS = PredictOptions(max_tracks=3)


def right(t):
    return 5 + t % 90, 10


def away(t):
    return (120, 40) if t < 30 or t >= 70 else None


def late(t):
    return (60, 60) if t >= 60 else None


@pytest.fixture
def video(tmp_path: Path) -> Video:
    return open_video(write_frames(tmp_path / "clip", squares(110, (96, 160), (right, away, late))))


def streamed(video: Video, folder: Path, options: PredictOptions = OPTIONS, **arguments):
    return stream_to_folder(Predictor(FakeModel()), video, folder, options, about={"model": "fake"}, **arguments)


def test_the_files_equal_those_of_a_result_in_memory(video, tmp_path):
    whole = Predictor(FakeModel())(video, max_tracks=3, score_threshold=0.2)
    result = streamed(video, tmp_path / "out", OPTIONS.updated(score_threshold=0.2))
    write_results(tmp_path / "whole.json", [whole])
    write_long_results(tmp_path / "parts.json", result.windows())
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    write_csv(whole, tmp_path / "whole.csv")
    write_csv(result.windows(), tmp_path / "parts.csv")
    assert sorted((tmp_path / "parts.csv").read_text().split()) == sorted((tmp_path / "whole.csv").read_text().split())
    assert result.length == 110 and sum(part.length for part in result.windows()) == 110


def test_one_window_is_the_one_pass_result(tmp_path):
    video = open_video(write_frames(tmp_path / "clip", squares(40, (96, 160), (right, away, late))))
    write_results(tmp_path / "whole.json", [Predictor(FakeModel())(video, max_tracks=3)])
    write_long_results(tmp_path / "parts.json", streamed(video, tmp_path / "out").windows())
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_an_object_that_returns_keeps_its_track(video, tmp_path):
    """It is absent for forty frames, more than a window: it is re-identified by an earlier keyframe."""
    result = streamed(video, tmp_path / "out", OPTIONS.updated(score_threshold=0.2))
    green = [
        np.concatenate([part.tracks[place].present for part in result.windows()]) for place in range(len(result.tracks))
    ]
    category = [track.category_id for track in result.tracks]
    assert category.count(2) == 1
    assert np.flatnonzero(green[category.index(2)]).tolist() == [*range(30), *range(70, 110)]


@pytest.mark.parametrize("stop", [1, 30, 60, 109])
def test_a_stopped_stream_resumes_to_the_same_bytes(video, tmp_path, stop):
    def cancel(stage: str, done: int, total: int | None) -> None:
        if done >= stop:
            raise Cancelled

    with pytest.raises(Cancelled):
        streamed(video, tmp_path / "stopped", progress=cancel)
    model = FakeModel()
    stream_to_folder(Predictor(model), video, tmp_path / "stopped", OPTIONS, about={"model": "fake"})
    streamed(video, tmp_path / "whole")
    for name in (LINES, STATE):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(model.clips) == {1: 6, 30: 5, 60: 4, 109: 1}[stop]


def test_the_state_file_has_the_field_names_of_earlier_versions(video, tmp_path):
    states: list[dict] = []
    streamed(
        video, tmp_path, on_window=lambda _: states.append(msgspec.msgpack.decode((tmp_path / STATE).read_bytes()))
    )
    assert states[0].keys() == {"size", "linker", "frames", "kept", "ended", "categories"}
    associator = msgspec.msgpack.decode(states[0]["linker"])
    assert associator.keys() == {"length", "born", "keyframes", "live", "gone"}
    assert associator["live"][0].keys() == {"id", "frames", "score_sum", "votes", "feature", "looks"}


def test_an_incomplete_line_is_overwritten(video, tmp_path):
    """A kill between the line and the state leaves a line too many, or a part of one."""
    streamed(video, tmp_path / "whole")
    states: list[bytes] = []
    folder = tmp_path / "killed"
    streamed(video, folder, on_window=lambda part: states.append((folder / STATE).read_bytes()))
    (folder / STATE).write_bytes(states[1])
    with open(folder / LINES, "r+b") as file:
        file.truncate((folder / LINES).stat().st_size - 50)
    streamed(video, folder)
    assert (folder / LINES).read_bytes() == (tmp_path / "whole" / LINES).read_bytes()


def test_another_video_or_other_options_are_errors(video, tmp_path):
    streamed(video, tmp_path / "out")
    with pytest.raises(ValueError, match=r"out holds another stream \(max_tracks 3, now 2\): give another folder"):
        streamed(video, tmp_path / "out", OPTIONS.updated(max_tracks=2))
    other = open_video(write_frames(tmp_path / "other", squares(5, (96, 160), (right, away, late))))
    with pytest.raises(ValueError, match=r"another stream \(video clip, now other\)"):
        streamed(other, tmp_path / "out")
    (tmp_path / "out" / STATE).write_bytes(b"no")
    with pytest.raises(ValueError, match=r"stream\.state: cannot be read .*; --fresh begins again"):
        streamed(video, tmp_path / "out")
    discard(tmp_path / "out")
    assert streamed(other, tmp_path / "out").length == 5


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"window": 1}, "window: expected 0"),
        ({"max_tracks": 0}, "max_tracks: expected at least 1, got 0"),
        ({"score_threshold": 2.0}, "score_threshold: expected a probability"),
    ],
)
def test_wrong_options_do_not_block_the_folder(video, tmp_path, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        streamed(video, tmp_path / "out", OPTIONS.updated(**wrong))
    assert streamed(video, tmp_path / "out").length == 110


class Endless(Video):
    """A moving red square; no frame is kept in memory."""

    def frames(self) -> Iterator[Frame]:
        assert self.length is not None
        for t in range(self.length):
            rgb = np.zeros((48, 64, 3), np.uint8)
            rgb[4:16, t % 50 : t % 50 + 12, 0] = 255
            yield Frame(t, t / 10, rgb)


class Steady(FakeModel):
    """Always outputs one object that fills the frame."""

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        length = frames.shape[1]
        logits = torch.tensor([SURE, UNSURE, UNSURE]).repeat(1, length, 3, 1)
        boxes = torch.tensor([0.0, 0.0, 64.0, 32.0]).repeat(1, length, 3, 1)
        features = torch.ones(1, length, 3, 1)
        return [StageOutput(logits, boxes, features, features, Pyramid.from_maps([torch.zeros(length, 1, 1, 1)]))]


def test_memory_is_constant_over_three_thousand_frames(tmp_path):
    """From frame 500 to the end Python allocates less than one more block for three frames."""
    blocks: list[int] = []

    def on_window(part: WindowResult) -> None:
        if part.first % 500 < 20:
            gc.collect()
            blocks.append(sys.getallocatedblocks())

    video = Endless("endless", Path("endless"), (48, 64), 3000, None, None)
    options = PredictOptions(max_tracks=1, size=(32, 64))
    result = stream_to_folder(Predictor(Steady()), video, tmp_path, options, about={}, on_window=on_window)
    assert result.length == 3000 and len(blocks) == 6
    assert max(blocks[1:]) - min(blocks[1:]) < 1000, blocks


@pytest.mark.slow
def test_memory_is_constant_over_ten_thousand_frames_of_a_real_model(tmp_path):
    """The process's resident memory from frame 200 to the end stays within 5 per cent of its mean."""
    video = Repeated("repeated", Path("repeated"), clips()[0].size_hw, 10_000, None, None)
    samples, _ = benchmark.sample_memory(tevit.load("tevit_demo", device="cpu"), video, window=None)
    assert samples[-1].frames == 10_000
    settled = [sample.megabytes for sample in samples if sample.frames >= benchmark.SETTLED]
    mean = sum(settled) / len(settled)
    assert max(abs(megabytes - mean) for megabytes in settled) < 0.05 * mean


class Repeated(Video):
    """The sample clips again and again."""

    def frames(self) -> Iterator[Frame]:
        assert self.length is not None
        for index, rgb in enumerate(again_and_again(self.length)):
            yield Frame(index, index / 6, rgb)


def transport_stream(length: int) -> bytes:
    """An MPEG-TS video, as from a camera."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = 160, 96
        for frame in squares(length, (96, 160), (right, away, late)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_a_pipe_is_read_once_and_other_content_is_an_error():
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    video = open_pipe(Pipe(transport_stream(30)))
    frames = list(video.frames())
    assert video.size_hw == (96, 160) and len(frames) == 30
    assert [frame.time for frame in frames] == pytest.approx([t / 10 for t in range(30)], abs=0.001)
    assert frames[7].rgb[12:20, 14:22, 0].mean() > 200
    with pytest.raises(ValueError, match="stdin: a pipe can be read once only"):
        list(video.frames())
    with pytest.raises(ValueError, match=r"stdin: expected a video that can be read from a pipe .* got "):
        open_pipe(Pipe(b"not a video\n" * 50))


def test_the_command_reads_standard_input(tmp_path):
    command = ["-m", "tevit", "predict", "-", "--out", tmp_path, "--stream"]
    command += ["--model", "tevit_demo", "--max-tracks", "2", "--window", "8"]
    process = run_python(*command, folder=tmp_path, stdin=transport_stream(20))
    assert process.returncode == 0, process.stderr
    assert "-: 2 tracks in 20 frames" in process.stdout
    results = json.loads((tmp_path / "stdin" / "results.json").read_bytes())
    assert [len(track["segmentations"]) for track in results] == [20, 20]
    assert len((tmp_path / "stdin" / LINES).read_text().splitlines()) == 1 + 4
    assert not (tmp_path / "stdin" / "overlay.mp4").exists() and (tmp_path / "stdin" / "tracks.csv").exists()
