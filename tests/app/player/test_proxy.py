import io
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.player import proxy as footage
from app.player.proxy import BrowserVideo, ProxyBuilder, ProxyTask, VideoSource, make_proxy, shown_size
from app.tasks import Task
from tests.app.fakes import make_video
from tests.pictures import SIZE, bar, onsets, pictures, quadrants, write_images, write_video
from tevit.progress import Cancelled
from tevit.video.reader import open_video

UNEVEN = [Fraction(ms, 1000) for ms in (0, 40, 73, 74, 140, 173, 700, 733)]


def made(path: Path, folder: Path) -> BrowserVideo:
    return make_proxy(VideoSource(path.name, path), folder / "proxy.mp4")


def packets(path: Path) -> tuple[list[Fraction], list[int]]:
    """Presentation times in seconds and the positions of keyframes, in the file's order."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        times = [packet.pts * packet.time_base for packet in found if packet.pts is not None]
        return times, [index for index, packet in enumerate(found) if packet.is_keyframe]


def picture(shown: BrowserVideo, index: int) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(shown.picture(index), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1]


def test_a_proxy_keeps_every_frame_at_its_time_in_milliseconds(tmp_path: Path):
    source = write_video(tmp_path / "uneven.mkv", pictures(8), UNEVEN)
    shown = made(source, tmp_path)
    assert shown.video is not None and shown.name == "uneven.mkv"
    times, _ = packets(shown.video)
    assert times == UNEVEN, "in the file's order, so without B-frames, and from 0"
    assert shown.times == tuple(float(time) for time in UNEVEN)
    assert [bar(frame.rgb) for frame in open_video(shown.video).frames()] == list(range(8))


def test_rates_that_are_no_milliseconds_are_rounded_and_stated(tmp_path: Path):
    clip = write_video(tmp_path / "ntsc.mp4", pictures(40), fps=30)
    shown = made(clip, tmp_path)
    assert shown.times == tuple(round(index * 1000 / 30) / 1000 for index in range(40))
    assert shown.video is not None
    times, keys = packets(shown.video)
    assert tuple(float(time) for time in times) == shown.times
    assert max(np.diff([*keys, 40])) <= 15


def test_times_within_one_millisecond_still_increase(tmp_path: Path):
    clip = write_video(tmp_path / "quick.mp4", pictures(6), fps=4000)
    assert made(clip, tmp_path).times == (0.0, 0.001, 0.002, 0.003, 0.004, 0.005)


def test_the_sound_is_kept(tmp_path: Path):
    clip = write_video(tmp_path / "loud.mp4", pictures(16) * 2, sound="aac")
    shown = made(clip, tmp_path)
    assert shown.video is not None
    assert onsets(shown.video) == pytest.approx(onsets(clip), abs=0.03)


def test_turned_and_odd_frames_are_shown_as_they_are_meant(tmp_path: Path):
    clip = write_video(
        tmp_path / "turned.mp4", [quadrants((50, 64))] * 3, rotation=(90, False, False), sample_aspect_ratio=2
    )
    shown = made(clip, tmp_path)
    upright = next(open_video(clip).frames()).rgb
    assert shown.size_hw == shown.shown_hw == upright.shape[:2] == (64, 50)
    assert np.abs(picture(shown, 2).astype(int) - upright).mean() < 6
    assert shown.pixel_aspect == 0.5


def test_a_proxy_of_odd_frames_has_one_more_row_and_column_that_are_not_shown(tmp_path: Path):
    images = [quadrants((47, 63))] * 2
    clip = write_video(tmp_path / "odd.mkv", images, codec="ffv1", pix_fmt="bgr0")
    shown = made(clip, tmp_path)
    assert (shown.size_hw, shown.shown_hw) == ((47, 63), (47, 63))
    assert shown.video is not None and open_video(shown.video).size_hw == (48, 64)
    assert picture(shown, 0).shape == (47, 63, 3)
    assert next(shown.open().frames()).rgb.shape == (47, 63, 3)


def test_what_is_larger_than_screens_is_scaled_down_to_even_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert shown_size((2160, 3840)) == (1080, 1920) and shown_size((1080, 1920)) == (1080, 1920)
    assert shown_size((4000, 3)) == (1920, 2)
    monkeypatch.setattr(footage, "MAX_SIDE", 40)
    clip = write_video(tmp_path / "large.mp4", [quadrants(SIZE)] * 2)
    shown = made(clip, tmp_path)
    assert (shown.size_hw, shown.shown_hw) == (SIZE, (30, 40))
    assert shown.video is not None and open_video(shown.video).size_hw == (30, 40)
    assert picture(shown, 1).shape == (30, 40, 3)
    again = shown.open()
    assert again.size_hw == SIZE and next(again.frames()).rgb.shape == (*SIZE, 3)


def test_any_frame_as_a_picture_from_many_threads(tmp_path: Path):
    shown = made(write_video(tmp_path / "bars.mp4", pictures(16) + pictures(16)), tmp_path)
    seen: dict[int, int] = {}

    def look(order: list[int]) -> None:
        for index in order:
            seen[index] = bar(picture(shown, index))

    threads = [threading.Thread(target=look, args=(list(range(start, 32, 4))[::-1],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {index: index % 16 for index in range(32)}
    for index in (-1, 32):
        with pytest.raises(IndexError, match=f"expected a frame from 0 to 31, got {index}"):
            shown.picture(index)


def test_images_are_shown_themselves(tmp_path: Path):
    shots = {f"{index}.{kind}": quadrants(SIZE) for index, kind in enumerate(("jpg", "png", "jpg"))}
    folder = write_images(tmp_path / "frames", shots)
    shown = made(folder, tmp_path)
    assert (shown.video, shown.length, shown.size_hw) == (None, 3, SIZE)
    assert shown.times == pytest.approx((0, 1 / 6, 1 / 3))
    assert shown.picture(0) == (folder / "0.jpg").read_bytes()
    png = shown.picture(1)
    assert png[:3] == b"\xff\xd8\xff" and np.abs(picture(shown, 1).astype(int) - quadrants(SIZE)).mean() < 6
    assert not (tmp_path / "proxy.mp4").exists()
    again = shown.open()
    assert [frame.time for frame in again.frames()] == pytest.approx(shown.times)


def test_a_large_image_is_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_images(tmp_path / "frames", {"0.jpg": quadrants(SIZE)})
    monkeypatch.setattr(footage, "MAX_SIDE", 40)
    assert picture(made(folder, tmp_path), 0).shape == (30, 40, 3)


def test_the_frames_of_a_data_set_keep_their_order_and_rate(tmp_path: Path):
    folder = write_images(tmp_path / "frames", {f"{index}.jpg": shot for index, shot in enumerate(pictures(3))})
    files = tuple(folder / f"{index}.jpg" for index in (2, 0, 1))
    shown = make_proxy(VideoSource("set", files=files, fps=Fraction(2)), tmp_path / "proxy.mp4")
    assert [bar(picture(shown, index)) for index in range(3)] == [2, 0, 1]
    assert shown.times == (0, 0.5, 1) and shown.open().fps == 2


def test_what_is_left_of_a_cut_off_video_is_shown_with_a_warning(tmp_path: Path):
    whole = make_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    shown = made(cut, tmp_path)
    assert 5 < shown.length < 60 and len(shown.warnings) == 1 and "cut.mkv is cut off" in shown.warnings[0]


def test_stopping_leaves_no_file(tmp_path: Path):
    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        make_proxy(VideoSource("clip", make_video(tmp_path / "clip.mp4")), tmp_path / "out" / "proxy.mp4", stop)
    assert list((tmp_path / "out").iterdir()) == []


# --- the preparer


@pytest.fixture
def preparer(tmp_path: Path) -> Iterator[ProxyBuilder]:
    opened = ProxyBuilder(tmp_path / "proxies")
    yield opened
    opened.close()


def ended(preparation: ProxyTask) -> ProxyTask:
    start = time.monotonic()
    while not preparation.over:
        assert time.monotonic() - start < 20
        time.sleep(0.005)
    return preparation


def test_it_prepares_and_says_how_far(preparer: ProxyBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch):
    told = []
    report = Task.progress
    monkeypatch.setattr(Task, "progress", lambda self, *step: (report(self, *step), told.append(step[1:])))
    now = preparer.start(VideoSource("clip", clip)).wait(20)
    assert now.state == "done" and now.result is not None and now.result.length == 18
    assert told == [(0, None), *((done, 18) for done in range(1, 19))]


def test_the_same_file_is_prepared_once_until_it_changes(preparer: ProxyBuilder, tmp_path: Path):
    clip = make_video(tmp_path / "clip.mp4")
    first = ended(preparer.start(VideoSource("clip", clip)))
    assert preparer.start(VideoSource("clip", clip)) is first
    shown = first.status().result
    assert shown is not None and shown.video is not None
    make_video(clip, frames=5)
    other = ended(preparer.start(VideoSource("clip", clip))).status().result
    assert other is not None and other.length == 5
    shown.video.unlink()
    assert ended(preparer.start(VideoSource("clip", clip))).status().state == "done"


def test_what_goes_on_is_given_again_and_what_failed_is_begun_anew_by_choice_alone(
    preparer: ProxyBuilder, tmp_path: Path
):
    long = VideoSource("long", make_video(tmp_path / "long.mp4", frames=200))
    going = preparer.start(long)
    assert preparer.start(long) is preparer.last(long) is going
    assert ended(going).status().state == "done" and preparer.last(long) is going
    words = tmp_path / "words.mp4"
    words.write_text("not a video\n" * 20)
    failed = ended(preparer.start(VideoSource("words.mp4", words)))
    assert preparer.last(VideoSource("words.mp4", words)) is failed
    assert preparer.start(VideoSource("words.mp4", words)) is not failed


def test_cancel_stops_one_and_the_next_goes_on(preparer: ProxyBuilder, tmp_path: Path):
    long = make_video(tmp_path / "long.mp4", frames=400)
    first = preparer.start(VideoSource("long", long))
    waiting = preparer.start(VideoSource("other", long))
    last = preparer.start(VideoSource("clip", make_video(tmp_path / "clip.mp4")))
    waiting.cancel()
    assert waiting.status().state == "cancelled"
    first.cancel()
    assert ended(first).status().state == "cancelled" and ended(last).status().state == "done"
    assert len(list(preparer.folder.iterdir())) == 1


def test_a_failure_is_one_sentence_without_the_servers_folders(preparer: ProxyBuilder, tmp_path: Path):
    words = tmp_path / "words.mp4"
    words.write_text("not a video\n" * 20)
    now = ended(preparer.start(VideoSource("words.mp4", words))).status()
    assert now.state == "failed" and now.message.startswith("words.mp4: not a") and str(tmp_path) not in now.message
    now = ended(preparer.start(VideoSource("gone.mp4", tmp_path / "gone.mp4"))).status()
    assert now.message == "no such file or folder: gone.mp4"


def test_proxies_that_nobody_asked_for_leave_the_disk(
    preparer: ProxyBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    shown = ended(preparer.start(VideoSource("clip", clip))).status().result
    assert shown is not None and shown.video is not None
    monkeypatch.setattr(footage, "KEEP_SECONDS", -60)
    preparer.start(VideoSource("other", clip))
    assert not shown.video.exists()


def test_pictures_are_jpeg_of_fitting_quality(tmp_path: Path, clip: Path):
    from PIL import Image

    with Image.open(io.BytesIO(made(clip, tmp_path).picture(0))) as image:
        assert image.format == "JPEG" and image.size == (160, 96)
