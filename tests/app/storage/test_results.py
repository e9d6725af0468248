import gc
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.player.proxy import BrowserVideo, VideoSource, make_proxy
from app.storage.results import META, PROXY, ResultStore, Settings
from tests.app.fakes import make_video, walking_squares
from tests.pictures import pictures, write_images
from tevit.results import VideoResult

TOKENS = [f"{number:032x}" for number in range(8)]
SETTINGS = Settings("/some/where/mine.pth", 0.1, 20, first=4, stop=14)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> BrowserVideo:
    folder = tmp_path_factory.mktemp("source")
    return make_proxy(VideoSource("clip.mp4", make_video(folder / "clip.mp4")), folder / "proxy.mp4")


@pytest.fixture
def result() -> VideoResult:
    """Ten frames, with ids, boxes and times that results.json cannot store."""
    squares = walking_squares("clip", (96, 160), [frame / 7 for frame in range(10)], 10, 0.0)
    tracks = tuple(replace(track, id=track.id + 6, boxes_xyxy=track.boxes_xyxy + 0.3) for track in squares.tracks)
    scores = np.array([0.1, np.nan, *[0.7] * 8], np.float32)
    return replace(squares, tracks=(replace(tracks[0], frame_scores=scores), *tracks[1:]))


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


def same(one: VideoResult, other: VideoResult) -> bool:
    for a, b in zip(one.tracks, other.tracks, strict=True):
        np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
        np.testing.assert_array_equal(a.areas, b.areas)
        assert (a.frame_scores is None) == (b.frame_scores is None)
        if a.frame_scores is not None and b.frame_scores is not None:
            np.testing.assert_array_equal(a.frame_scores, b.frame_scores)
        assert (a.id, a.category_id, a.score, a.rles) == (b.id, b.category_id, b.score, b.rles)
    np.testing.assert_array_equal(one.times, other.times)
    facts = [(r.video_id, r.name, r.size_hw, dict(r.categories), r.file_names) for r in (one, other)]
    return facts[0] == facts[1]


def test_a_video_keeps_its_container(results: ResultStore, frames: BrowserVideo, result: VideoResult, tmp_path: Path):
    video = tmp_path / "a.webm"
    video.write_bytes(b"webm")
    results.save(TOKENS[0], "my clip", SETTINGS, replace(frames, video=video), result)
    stored = results.open(TOKENS[0])
    assert stored.frames.video is not None and stored.frames.video.name == "footage.webm"
    stored.frames.video.write_bytes(b"we")
    with pytest.raises(ValueError, match=r"footage\.webm was changed or cut off"):
        results.open(TOKENS[0])


def test_a_result_opens_unchanged_after_a_restart(
    results: ResultStore, frames: BrowserVideo, result: VideoResult, tmp_path: Path
):
    before = time.time()
    results.save(TOKENS[1], "my clip", SETTINGS, frames, result, "It is so.")
    again = ResultStore(tmp_path / "results").open(TOKENS[1])
    assert same(again.result, result)
    assert again.settings == replace(SETTINGS, model="mine.pth"), "no folder of the server"
    assert (again.token, again.name, again.sentence) == (TOKENS[1], "my clip", "It is so.")
    assert before <= again.created <= time.time()
    assert again.frames.times == frames.times and again.frames.size_hw == frames.size_hw
    assert again.frames.picture(3) == frames.picture(3)
    assert len(list(again.frames.open().frames())) == 18


def test_a_result_does_not_need_its_source(results: ResultStore, result: VideoResult, tmp_path: Path):
    clip = make_video(tmp_path / "clip.mp4")
    frames = make_proxy(VideoSource("clip", clip), tmp_path / "proxy.mp4")
    results.save(TOKENS[1], "clip", SETTINGS, frames, result)
    assert frames.video is not None
    frames.video.unlink()
    clip.unlink()
    assert results.open(TOKENS[1]).frames.picture(17)


def test_images_stay_where_they_are(results: ResultStore, tmp_path: Path):
    folder = write_images(tmp_path / "frames", {f"{index}.jpg": shot for index, shot in enumerate(pictures(3))})
    frames = make_proxy(VideoSource("frames", folder), tmp_path / "none.mp4")
    expected = replace(
        walking_squares("frames", (48, 64), [0.0, 1 / 6, 1 / 3], 10, 0.0), file_names=("0.jpg", "1.jpg", "2.jpg")
    )
    results.save(TOKENS[1], "frames", Settings("m"), frames, expected)
    again = results.open(TOKENS[1])
    assert same(again.result, expected) and again.frames.picture(2) == (folder / "2.jpg").read_bytes()
    (folder / "1.jpg").unlink()
    with pytest.raises(ValueError, match=f"{TOKENS[1]} cannot be opened: its pictures are not where they were"):
        results.open(TOKENS[1])


@pytest.mark.parametrize("token", ["", "..", "../x", "a" * 31, "A" * 32, TOKENS[1] + "\n", TOKENS[1]])
def test_an_unknown_token_is_one_sentence(results: ResultStore, token: str):
    with pytest.raises(ValueError, match=r"^There is no such stored result, or not any more\.$"):
        results.open(token)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("results.json", cut, "results.json was changed or cut off"),
        ("results.json", edit('"category_id":2', '"category_id":1'), "results.json was changed or cut off"),
        (PROXY, cut, "footage.mp4 was changed or cut off"),
        (META, cut, "meta.json: "),
        (META, edit('"version":1', '"version":2'), "meta.json: expected version 1, got 2"),
        (META, edit('"times":[0.0', '"times":[9.0'), "meta.json: expected times that increase"),
        (META, edit('"first":4', '"first":9'), "meta.json: expected 10 frames from 9 on, but 18 are shown"),
        (META, edit('"boxes_xyxy":[', '"boxes_xyxy":[null,'), "meta.json: expected 10 boxes and scores a track"),
        (META, edit('"model":"mine.pth"', '"model":3'), "meta.json: "),
        (META, Path.unlink, "meta.json: No such file or directory"),
        (PROXY, Path.unlink, "footage.mp4: No such file or directory"),
    ],
)
def test_a_changed_result_is_one_sentence(
    results: ResultStore, frames: BrowserVideo, result: VideoResult, name: str, damage: Callable, reason: str
):
    copied = replace(frames, video=shutil.copy(frames.video or "", results.folder.parent / "own.mp4"))
    for token in TOKENS[:2]:
        results.save(token, "clip", SETTINGS, copied, result)
    file = results.folder / TOKENS[1] / name
    shutil.copy(file, file.with_suffix(".new"))  # not through the link into the other's file
    file.with_suffix(".new").replace(file)
    damage(file)
    with pytest.raises(ValueError) as error:
        results.open(TOKENS[1])
    sentence = str(error.value)
    assert sentence.startswith(f"The stored result {TOKENS[1]} cannot be opened: {reason}")
    assert sentence.endswith(".") and str(results.folder) not in sentence and "\n" not in sentence
    assert results.open(TOKENS[0]).token == TOKENS[0]


def test_a_result_stored_again_replaces_the_earlier_one(
    results: ResultStore, frames: BrowserVideo, result: VideoResult
):
    results.save(TOKENS[1], "clip", SETTINGS, frames, replace(result, tracks=result.tracks[:1]))
    results.save(TOKENS[1], "clip", SETTINGS, frames, result)
    assert len(results.open(TOKENS[1]).result.tracks) == 2 and stored(results) == [TOKENS[1]]


def test_a_result_is_kept_where_the_server_is_killed_while_it_is_replaced(
    results: ResultStore, frames: BrowserVideo, result: VideoResult, monkeypatch: pytest.MonkeyPatch
):
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if target.name == TOKENS[1]:
            raise KeyboardInterrupt
        return rename(path, target)

    results.save(TOKENS[1], "clip", SETTINGS, frames, result)
    os.utime(results.folder / TOKENS[1], (0, 0))
    for again in (lambda: results.open(TOKENS[1]), lambda: results.save(TOKENS[0], "clip", SETTINGS, frames, result)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "rename", killed)
            results.save(TOKENS[1], "clip", SETTINGS, frames, replace(result, tracks=result.tracks[:1]))
        again()
        assert len(results.open(TOKENS[1]).result.tracks) == 2
    assert sorted(path.name for path in results.folder.iterdir()) == sorted(TOKENS[:2])


def test_a_failed_save_leaves_nothing(
    results: ResultStore, frames: BrowserVideo, result: VideoResult, monkeypatch: pytest.MonkeyPatch
):
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.storage.results._sha256", full)
    with pytest.raises(OSError, match="No space left"):
        results.save(TOKENS[1], "clip", SETTINGS, frames, result)
    assert list(results.folder.iterdir()) == []
    with pytest.raises(ValueError, match="There is no such stored result"):
        results.save("../x", "clip", SETTINGS, frames, result)


# --- the limit


def stored(results: ResultStore) -> list[str]:
    return sorted(folder.name for folder in results.folder.iterdir())


def save_aged(results: ResultStore, token: str, frames: BrowserVideo, result: VideoResult, age: float) -> None:
    results.save(token, "clip", SETTINGS, frames, result)
    written = time.time() - age
    os.utime(results.folder / token, (written, written))


def test_the_oldest_is_removed_but_not_one_in_use(tmp_path: Path, frames: BrowserVideo, result: VideoResult):
    measured = ResultStore(tmp_path / "one")
    measured.save(TOKENS[0], "clip", SETTINGS, frames, result)
    size = sum(file.stat().st_size for file in (measured.folder / TOKENS[0]).iterdir())
    results = ResultStore(tmp_path / "results", limit=int(2.5 * size))
    save_aged(results, TOKENS[1], frames, result, age=300)
    save_aged(results, TOKENS[2], frames, result, age=200)
    in_use = results.open(TOKENS[1])
    save_aged(results, TOKENS[3], frames, result, age=100)
    assert stored(results) == [TOKENS[1], TOKENS[3]], "the oldest is in use, so the next one is removed"
    assert in_use.frames.picture(0)
    del in_use
    gc.collect()
    save_aged(results, TOKENS[4], frames, result, age=0)
    assert stored(results) == [TOKENS[3], TOKENS[4]]


def test_a_result_larger_than_the_limit_stays_alone(tmp_path: Path, frames: BrowserVideo, result: VideoResult):
    results = ResultStore(tmp_path / "results", limit=10)
    save_aged(results, TOKENS[1], frames, result, age=100)
    save_aged(results, TOKENS[2], frames, result, age=0)
    assert stored(results) == [TOKENS[2]]


def test_half_written_folders_are_removed_after_a_day(results: ResultStore, frames: BrowserVideo, result: VideoResult):
    for name, age in ((".old", 25 * 3600), (".new", 60)):
        (results.folder / name).mkdir(parents=True)
        written = time.time() - age
        os.utime(results.folder / name, (written, written))
    results.save(TOKENS[1], "clip", SETTINGS, frames, result)
    assert stored(results) == [".new", TOKENS[1]]
