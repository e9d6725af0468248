"""The predictor with a model that segments coloured squares: windows, association, progress, cancelling, errors."""

import threading
import time
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import tevit
from tests.fakes import FakeModel, squares, write_frames
from tevit.inference import predictor as module
from tevit.inference.predictor import Predictor
from tevit.io.ytvis import write_results
from tevit.masks import ops as masks
from tevit.progress import Cancelled, ResumeState

RED, GREEN, BLUE = 1, 2, 3


def right(t):
    return 5 + t % 90, 10


def down(t):
    return 120, 5 + t % 60


def never(t):
    return None


@pytest.fixture
def predictor():
    return Predictor(FakeModel())


def test_short_video_is_one_pass(predictor, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(48, (96, 160), (right, down, never)))
    result = predictor(folder, max_tracks=2)
    assert predictor.model.clips == [48]
    assert [track.category_id for track in result.tracks] == [RED, GREEN]
    assert [track.id for track in result.tracks] == [1, 2]
    for t in (0, 17, 47):
        mask = masks.decode(result.tracks[0].rles[t]).astype(bool)
        expected = np.zeros((96, 160), bool)
        expected[10:22, 5 + t : 17 + t] = True
        assert (mask == expected).all()
    np.testing.assert_allclose(result.times, np.arange(48) / 6)
    assert result.file_names[:2] == ("00000.png", "00001.png") and result.name == "clip"


@pytest.mark.parametrize(
    ("length", "window", "clips"),
    [
        (49, None, [24, 25, 25]),
        (90, None, [24, 25, 25, 25, 25]),
        (60, 0, [60]),
        (30, 10, [10, 11, 11, 11, 11]),
        (7, 2, [2, 3, 3, 3, 3, 3]),
        (30, 30, [30]),
    ],
)
def test_windows_cover_every_frame_once(predictor, tmp_path, length, window, clips):
    folder = write_frames(tmp_path / "clip", squares(length, (96, 160), (right, down, never)))
    result = predictor(folder, window=window, max_tracks=2)
    assert predictor.model.clips == clips
    assert result.length == length and len(set(result.times.tolist())) == length
    assert [track.category_id for track in result.tracks] == [RED, GREEN]  # the tracks continue through all windows
    assert all(track.present.all() for track in result.tracks)


def test_windows_give_the_result_of_one_pass(tmp_path):
    folder = write_frames(tmp_path / "clip", squares(70, (96, 160), (right, down, never)))
    whole = Predictor(FakeModel())(folder, window=0, max_tracks=2)
    parts = Predictor(FakeModel())(folder, max_tracks=2)
    for one, other in zip(whole.tracks, parts.tracks, strict=True):
        assert one.category_id == other.category_id and one.rles == other.rles
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.frame_scores is not None and other.frame_scores is not None
        assert one.frame_scores.mean() == pytest.approx(one.score, abs=1e-6)
        assert other.frame_scores == pytest.approx(one.frame_scores, abs=1e-6)


def test_a_later_object_is_a_new_track_that_is_absent_before(predictor, tmp_path):
    def late(t):
        return (60, 60) if t >= 60 else None

    folder = write_frames(tmp_path / "clip", squares(90, (96, 160), (right, never, late)))
    tracks = predictor(folder, max_tracks=3, score_threshold=0.3).tracks
    blue = next(track for track in tracks if track.category_id == BLUE)
    assert not blue.present[:60].any() and blue.present[60:].all()
    assert blue.frame_scores is not None and np.isnan(blue.frame_scores[:40]).all()
    red = next(track for track in tracks if track.category_id == RED)
    assert red.present.all() and red.id != blue.id


def test_stream_yields_the_result_so_far(predictor, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(80, (96, 160), (right, down, never)))
    lengths, ids = [], []
    for part in predictor.stream(folder, max_tracks=2):
        lengths.append(part.length)
        ids.append([track.id for track in part.tracks])
    assert lengths == [24, 44, 64, 80]
    assert all(now == ids[0] for now in ids)


def test_score_threshold_and_max_tracks(predictor, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(60, (96, 160), (right, down, never)))
    assert len(predictor(folder, max_tracks=1).tracks) == 1
    assert {track.category_id for track in predictor(folder, score_threshold=0.5).tracks} == {RED, GREEN}


def test_progress_counts_frames_and_can_cancel(predictor, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(60, (96, 160), (right, down, never)))
    seen: list[tuple[int, int | None]] = []
    predictor(folder, progress=lambda stage, done, total: seen.append((done, total)))
    assert seen[0] == (0, 60) and seen[-1] == (60, 60)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def stop(stage, done, total):
        if done >= 24:
            raise Cancelled

    parts = predictor.stream(folder, progress=stop)
    with pytest.raises(Cancelled):
        list(parts)


@pytest.mark.parametrize("stop", [1, 30, 60, 79])
def test_a_cancelled_stream_resumes_to_the_same_result(tmp_path, stop):
    folder = write_frames(
        tmp_path / "clip", squares(80, (96, 160), (right, down, lambda t: (90, 70) if t > 50 else None))
    )

    def cancel(stage, done, total):
        if done >= stop:
            raise Cancelled

    resume, results = ResumeState(), []
    with pytest.raises(Cancelled):
        results.extend(Predictor(FakeModel()).stream(folder, progress=cancel, resume=resume))
    assert resume.length == (results[-1].length if results else 0)
    model = FakeModel()
    resumed = list(Predictor(model).stream(folder, resume=resume))[-1]
    assert len(model.clips) == 4 - len(results)
    whole = Predictor(FakeModel())(folder)
    write_results(tmp_path / "resumed.json", [resumed])
    write_results(tmp_path / "whole.json", [whole])
    assert (tmp_path / "resumed.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """30, 9 and 40 frames with other greys around; red is in all of them."""
    video, first = squares(79, (96, 160), (lambda t: (70, 40), never, never)), 0
    for seed, length in enumerate((30, 9, 40)):
        greys = (
            np.random.default_rng(seed)
            .choice(np.array([0, 60, 200, 255], np.uint8), (6, 10))
            .repeat(16, 0)
            .repeat(16, 1)[..., None]
        )
        scene = video[first : first + length]
        scene[...] = np.where(scene.any(-1, keepdims=True), scene, greys)
        first += length
    return write_frames(tmp_path_factory.mktemp("scenes"), video)


def test_no_window_and_no_track_contains_a_cut(scenes):
    model = FakeModel()
    result = Predictor(model)(scenes, max_tracks=2, score_threshold=0.5, window=12)
    assert model.clips == [12, 13, 13, 13, 9, 12, 13, 13, 13, 13]  # with one keyframe, of the same scene
    tracks = sorted(result.tracks, key=lambda track: track.id)
    assert [np.flatnonzero(track.present).tolist() for track in tracks] == [
        list(range(30)),
        list(range(30, 39)),
        list(range(39, 79)),
    ]
    (through,) = Predictor(FakeModel())(scenes, max_tracks=2, score_threshold=0.5, window=12, cuts=False).tracks
    assert through.present.all()
    assert len(Predictor(FakeModel())(scenes, max_tracks=1, window=0).tracks) == 1


@pytest.mark.parametrize("stop", range(1, 79, 7))
def test_a_cancelled_stream_resumes_at_a_cut(scenes, tmp_path, stop):
    def cancel(stage, done, total):
        if stage == "segmenting" and done >= stop:
            raise Cancelled

    resume, whole = ResumeState(), Predictor(FakeModel())(scenes, window=12)
    with pytest.raises(Cancelled):
        list(Predictor(FakeModel()).stream(scenes, window=12, progress=cancel, resume=resume))
    resumed = list(Predictor(FakeModel()).stream(scenes, window=12, resume=resume))[-1]
    write_results(tmp_path / "resumed.json", [resumed])
    write_results(tmp_path / "whole.json", [whole])
    assert (tmp_path / "resumed.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_skipping_known_frames_reports_progress_and_can_be_cancelled(tmp_path):
    folder = write_frames(tmp_path / "clip", squares(120, (96, 160), (right, down, never)))
    resume, skipped = ResumeState(), []

    def run(stop_in: str, at: int) -> None:
        def on_progress(stage, done, total):
            skipped.extend([(done, total)] if stage == module.SKIPPING else [])
            if stage == stop_in and done >= at:
                raise Cancelled

        with pytest.raises(Cancelled):
            list(Predictor(FakeModel()).stream(folder, progress=on_progress, resume=resume))

    run("segmenting", 100)
    assert resume.length == 84 and skipped == []
    run(module.SKIPPING, 30)
    assert resume.length == 84 and skipped[-1] == (30, 60)
    run("segmenting", 110)
    assert resume.length == 104 and skipped[-1] == (60, 60)


def overlapping() -> Predictor:
    """As on a GPU: a thread encodes masks, one window late."""
    predictor = Predictor(FakeModel())
    predictor.overlap = True
    return predictor


def test_masks_encoded_in_a_thread_are_the_same_for_every_window(tmp_path):
    folder = write_frames(
        tmp_path / "clip", squares(110, (96, 160), (right, down, lambda t: (90, 70) if t > 50 else None))
    )
    for window in (None, 0, 10):
        pairs = zip(
            overlapping().stream(folder, window=window),
            Predictor(FakeModel()).stream(folder, window=window),
            strict=True,
        )
        for number, both in enumerate(pairs):
            for name, result in zip(("thread", "plain"), both, strict=True):
                write_results(tmp_path / f"{name}.json", [result])
            assert (tmp_path / "thread.json").read_bytes() == (tmp_path / "plain.json").read_bytes(), number


@pytest.mark.parametrize("stop", [1, 30, 60, 79])
def test_a_cancel_keeps_the_window_that_a_thread_encodes(tmp_path, stop):
    folder = write_frames(tmp_path / "clip", squares(80, (96, 160), (right, down, never)))

    def cancel(stage, done, total):
        if done >= stop:
            raise Cancelled

    lengths = []
    for predictor in (overlapping(), Predictor(FakeModel())):
        resume = ResumeState()
        with pytest.raises(Cancelled):
            list(predictor.stream(folder, progress=cancel, resume=resume))
        lengths.append(resume.length)
        resumed = list(predictor.stream(folder, resume=resume))[-1]
        write_results(tmp_path / f"{len(lengths)}.json", [resumed])
    assert lengths[0] == lengths[1]
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_the_model_runs_on_the_next_window_while_masks_are_encoded(tmp_path):
    """And threads end when the consumer closes the stream."""
    folder = write_frames(tmp_path / "clip", squares(80, (96, 160), (right, down, never)))
    predictor = overlapping()
    assert isinstance(predictor.model, FakeModel)
    parts = predictor.stream(folder)
    assert next(parts).length == 24 and predictor.model.clips == [24, 25]
    del parts
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("masks", "decoder", "frames"))]


def test_progress_advances_within_a_pass_of_a_real_model(tiny_model, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(12, (64, 96), (right, down, never)))
    seen: list[int] = []
    Predictor(tiny_model)(folder, size=(64, 96), progress=lambda stage, done, total: seen.append(done))
    assert len(set(seen)) > 5 and seen == sorted(seen) and seen[-1] == 12
    assert not any(module._forward_hooks for module in tiny_model.modules())


def test_memory_holds_one_window_of_frames(predictor, tmp_path, monkeypatch):
    """At most one window and the prefetched frames of a long video are in memory."""
    folder = write_frames(tmp_path / "clip", squares(150, (96, 160), (right, down, never)))
    plain, alive, max_alive = module.preprocess, 0, 0

    def counted(frame, sizes):
        nonlocal alive, max_alive
        out = plain(frame, sizes)
        alive += 1
        max_alive = max(max_alive, alive)
        weakref.finalize(out, freed)
        return out

    def freed():
        nonlocal alive
        alive -= 1

    monkeypatch.setattr(module, "preprocess", counted)
    assert predictor(folder).length == 150
    assert 24 <= max_alive <= 49 + 1


def test_prefetched_frames_are_the_same_and_end_with_their_consumer():
    indices = []

    def inputs(fails_at=None):
        for number in range(100):
            if number == fails_at:
                raise ValueError("a broken frame")
            indices.append(number)
            yield number

    def finish(number, fails_at=None):
        if number == fails_at:
            raise ValueError("a frame of another size")
        time.sleep(0.002 * (number % 3))  # later frames are finished earlier
        return module.InputFrame(number, 0.0, np.zeros(1))

    assert [frame.index for frame in module.prefetch(inputs(), finish)] == list(range(100))
    with pytest.raises(ValueError, match="a broken frame"):
        list(module.prefetch(inputs(fails_at=40), finish))
    with pytest.raises(ValueError, match="a frame of another size"):
        list(module.prefetch(inputs(), partial(finish, fails_at=40)))
    indices.clear()
    some = module.prefetch(inputs(), finish)
    assert next(some).index == 0
    some.close()
    assert len(indices) <= module.PREFETCH + 1
    assert not any(thread.name.startswith(("decoder", "frames")) for thread in threading.enumerate())


def test_mixed_precision_gives_similar_scores(tiny_model, tmp_path):
    folder = write_frames(tmp_path / "clip", squares(3, (64, 96), (right, down, never)))
    exact = Predictor(tiny_model)(folder, size=(64, 96), max_tracks=5)
    mixed = Predictor(tiny_model, dtype=torch.bfloat16)(folder, size=(64, 96), max_tracks=5)
    assert [track.score for track in mixed.tracks] == pytest.approx([track.score for track in exact.tracks], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 1}, "window: expected 0 .* at least 2 frames, got 1"),
        ({"window": -3}, "window: expected .* got -3"),
        ({"max_tracks": 0}, "max_tracks: expected at least 1, got 0"),
        ({"score_threshold": 1.5}, "score_threshold: expected .* got 1.5"),
        ({"size": (5, 5)}, "scale: expected .* got 5x5"),
    ],
)
def test_wrong_options_are_named(predictor, tmp_path, arguments, words):
    folder = write_frames(tmp_path / "clip", squares(2, (96, 160), (right, down, never)))
    with pytest.raises(ValueError, match=words):
        predictor(folder, **arguments)


def test_out_of_memory_is_an_error_that_names_window_and_size(tmp_path):
    class Greedy(FakeModel):
        def __call__(self, frames, sizes_hw, chunk=None):
            torch.empty(1 << 60)
            return []

    folder = write_frames(tmp_path / "clip", squares(2, (96, 160), (right, down, never)))
    with pytest.raises(MemoryError, match="2 frames of 160x96 at once: lower the window or the size"):
        Predictor(Greedy())(folder)


def test_other_errors_of_a_model_are_raised_unchanged(tmp_path):
    class Broken(FakeModel):
        def __call__(self, frames, sizes_hw, chunk=None):
            raise RuntimeError("a bug")

    folder = write_frames(tmp_path / "clip", squares(2, (96, 160), (right, down, never)))
    with pytest.raises(RuntimeError, match="a bug"):
        Predictor(Broken())(folder)


def test_load_raises_errors_that_name_the_argument(tmp_path):
    with pytest.raises(ValueError, match="unknown model 'tevit_msgshfit'; did you mean 'tevit_msgshift'"):
        tevit.load("tevit_msgshfit")
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or mps, got 'gpu'"):
        tevit.load("tevit_r50", device="gpu")
    with pytest.raises(ValueError, match="expected one of float32, bfloat16, float16, got 'int8'"):
        tevit.load("tevit_r50", dtype="int8")
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such checkpoint"):
        tevit.load(tmp_path / "none.pth")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device exists here")
def test_cuda_is_an_error_where_there_is_none():
    with pytest.raises(ValueError, match="device 'cuda': this machine has none"):
        tevit.load("tevit_r50", device="cuda")
