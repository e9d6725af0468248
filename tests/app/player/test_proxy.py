import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from app.player import proxy as proxy
from app.player.proxy import MAX_SIDE, BrowserVideo, ProxyBuilder, ProxyTask, VideoSource, make_proxy, shown_size
from app.tasks import QueueFullError, Task
from tests.app.fakes import make_video
from tests.pictures import SIZE, bar, onsets, pictures, quadrants, write_images, write_video
from tevit.progress import Cancelled, Progress
from tevit.video.reader import open_video

B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:scenecut=0:keyint=12"}
UNEVEN = [Fraction(ms, 1000) for ms in (0, 40, 73, 74, 140, 173, 700, 733)]


def build(path: Path, folder: Path) -> BrowserVideo:
    return make_proxy(VideoSource(path.name, path), folder / "proxy.mp4")


def packets(path: Path) -> tuple[list[Fraction], list[int]]:
    """Presentation times in seconds and the positions of keyframes, in the file's order."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        times = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
        return times, [index for index, packet in enumerate(packets) if packet.is_keyframe]


def picture(frames: BrowserVideo, index: int) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(frames.picture(index), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1]


def test_a_proxy_keeps_every_frame_at_its_time_in_milliseconds(tmp_path: Path):
    source = write_video(tmp_path / "uneven.mkv", pictures(8), UNEVEN)
    frames = build(source, tmp_path)
    assert frames.video is not None and frames.name == "uneven.mkv"
    times, _ = packets(frames.video)
    assert times == UNEVEN, "in the file's order, so without B-frames, and from 0"
    assert frames.times == tuple(float(time) for time in UNEVEN)
    assert [bar(frame.rgb) for frame in open_video(frames.video).frames()] == list(range(8))


def test_times_are_rounded_to_milliseconds(tmp_path: Path):
    clip = write_video(tmp_path / "ntsc.mp4", pictures(40), fps=30)
    frames = build(clip, tmp_path)
    assert frames.times == tuple(round(index * 1000 / 30) / 1000 for index in range(40))
    assert frames.video is not None
    times, keys = packets(frames.video)
    assert tuple(float(time) for time in times) == frames.times
    assert max(np.diff([*keys, 40])) <= 15


def test_times_within_one_millisecond_still_increase(tmp_path: Path):
    clip = write_video(tmp_path / "quick.mp4", pictures(6), fps=4000)
    assert build(clip, tmp_path).times == (0.0, 0.001, 0.002, 0.003, 0.004, 0.005)


def test_the_audio_is_kept(tmp_path: Path):
    clip = write_video(tmp_path / "loud.mp4", pictures(16) * 2, sound="aac")
    frames = build(clip, tmp_path)
    assert frames.video is not None
    assert onsets(frames.video) == pytest.approx(onsets(clip), abs=0.03)


def test_rotated_frames_are_upright(tmp_path: Path):
    clip = write_video(
        tmp_path / "turned.mp4", [quadrants((50, 64))] * 3, rotation=(90, False, False), sample_aspect_ratio=2
    )
    frames = build(clip, tmp_path)
    upright = next(open_video(clip).frames()).rgb
    assert frames.size_hw == frames.shown_hw == upright.shape[:2] == (64, 50)
    assert np.abs(picture(frames, 2).astype(int) - upright).mean() < 6
    assert frames.pixel_aspect == 0.5


def test_a_proxy_of_odd_frames_has_one_more_row_and_column_outside_of_the_displayed_size(tmp_path: Path):
    images = [quadrants((47, 63))] * 2
    clip = write_video(tmp_path / "odd.mkv", images, codec="ffv1", pix_fmt="bgr0")
    frames = build(clip, tmp_path)
    assert (frames.size_hw, frames.shown_hw) == ((47, 63), (47, 63))
    assert frames.video is not None and open_video(frames.video).size_hw == (48, 64)
    assert picture(frames, 0).shape == (47, 63, 3)
    assert next(frames.open().frames()).rgb.shape == (47, 63, 3)


def test_large_frames_are_scaled_down_to_even_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert shown_size((2160, 3840)) == (1080, 1920) and shown_size((1080, 1920)) == (1080, 1920)
    assert shown_size((4000, 3)) == (1920, 2)
    monkeypatch.setattr(proxy, "MAX_SIDE", 40)
    clip = write_video(tmp_path / "large.mp4", [quadrants(SIZE)] * 2)
    frames = build(clip, tmp_path)
    assert (frames.size_hw, frames.shown_hw) == (SIZE, (30, 40))
    assert frames.video is not None and open_video(frames.video).size_hw == (30, 40)
    assert picture(frames, 1).shape == (30, 40, 3)
    again = frames.open()
    assert again.size_hw == SIZE and next(again.frames()).rgb.shape == (*SIZE, 3)


def test_pictures_of_any_frame_from_many_threads(tmp_path: Path):
    frames = build(write_video(tmp_path / "bars.mp4", pictures(16) + pictures(16)), tmp_path)
    seen: dict[int, int] = {}

    def read_frames(order: list[int]) -> None:
        for index in order:
            seen[index] = bar(picture(frames, index))

    threads = [threading.Thread(target=read_frames, args=(list(range(start, 32, 4))[::-1],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {index: index % 16 for index in range(32)}
    for index in (-1, 32):
        with pytest.raises(IndexError, match=f"expected a frame from 0 to 31, got {index}"):
            frames.picture(index)


def test_images_are_displayed_unchanged(tmp_path: Path):
    shots = {f"{index}.{kind}": quadrants(SIZE) for index, kind in enumerate(("jpg", "png", "jpg"))}
    folder = write_images(tmp_path / "frames", shots)
    frames = build(folder, tmp_path)
    assert (frames.video, frames.length, frames.size_hw) == (None, 3, SIZE)
    assert frames.times == pytest.approx((0, 1 / 6, 1 / 3))
    assert frames.picture(0) == (folder / "0.jpg").read_bytes()
    png = frames.picture(1)
    assert png[:3] == b"\xff\xd8\xff" and np.abs(picture(frames, 1).astype(int) - quadrants(SIZE)).mean() < 6
    assert not (tmp_path / "proxy.mp4").exists()
    again = frames.open()
    assert [frame.time for frame in again.frames()] == pytest.approx(frames.times)


def test_a_large_image_is_scaled_down(tmp_path: Path):
    folder = write_images(tmp_path / "frames", {"0.jpg": np.zeros((40, 2 * MAX_SIDE, 3), np.uint8)})
    assert picture(build(folder, tmp_path), 0).shape == (20, MAX_SIDE, 3)


def test_the_frames_of_a_data_set_keep_their_order_and_rate(tmp_path: Path):
    folder = write_images(tmp_path / "frames", {f"{index}.jpg": shot for index, shot in enumerate(pictures(3))})
    files = tuple(folder / f"{index}.jpg" for index in (2, 0, 1))
    frames = make_proxy(VideoSource("set", files=files, fps=Fraction(2)), tmp_path / "proxy.mp4")
    assert [bar(picture(frames, index)) for index in range(3)] == [2, 0, 1]
    assert frames.times == (0, 0.5, 1) and frames.open().fps == 2


def test_a_truncated_video_gives_its_frames_and_a_warning(tmp_path: Path):
    complete = make_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(complete.read_bytes()[: complete.stat().st_size // 2])
    frames = build(cut, tmp_path)
    assert 5 < frames.length < 60 and len(frames.warnings) == 1 and "cut.mkv is cut off" in frames.warnings[0]


def test_cancelling_leaves_no_file(tmp_path: Path):
    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        make_proxy(VideoSource("clip", make_video(tmp_path / "clip.mp4")), tmp_path / "out" / "proxy.mp4", stop)
    assert list((tmp_path / "out").iterdir()) == []


# --- building in the background


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[ProxyBuilder]:
    opened = ProxyBuilder(tmp_path / "proxies")
    yield opened
    opened.close()


def finished(task: ProxyTask) -> ProxyTask:
    start = time.monotonic()
    while not task.over:
        assert time.monotonic() - start < 60
        time.sleep(0.005)
    return task


def test_a_task_reports_its_progress(builder: ProxyBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reports = []
    report = Task.progress
    monkeypatch.setattr(Task, "progress", lambda self, *step: (report(self, *step), reports.append(step[1:])))
    now = builder.start(VideoSource("clip", make_video(tmp_path / "clip.mkv"))).wait(60)
    assert now.state == "done" and now.result is not None and now.result.length == 18
    assert [*dict.fromkeys(reports)] == [(0, None), *((done, 18) for done in range(1, 19))]


def test_the_proxy_of_a_file_is_reused_until_the_file_changes(builder: ProxyBuilder, tmp_path: Path):
    clip = make_video(tmp_path / "clip.mp4")
    first = finished(builder.start(VideoSource("clip", clip)))
    assert builder.start(VideoSource("clip", clip)) is first
    frames = first.status().result
    assert frames is not None and frames.video is not None
    make_video(clip, frames=5)
    other = finished(builder.start(VideoSource("clip", clip))).status().result
    assert other is not None and other.length == 5
    frames.video.unlink()
    assert finished(builder.start(VideoSource("clip", clip))).status().state == "done"


def test_a_file_that_browsers_play_stays_though_its_upload_is_deleted(builder: ProxyBuilder, tmp_path: Path):
    clip = write_video(tmp_path / "clip.mp4", pictures(32), fps=Fraction(30000, 1001), options=B_FRAMES)
    os.utime(clip, (1e9, 1e9))
    task = finished(builder.start(VideoSource("clip.mp4", clip)))
    frames = task.status().result
    assert frames is not None and frames.video is not None and frames.as_is
    assert frames.video.samefile(clip) and frames.video.parent == builder.folder
    assert builder.start(VideoSource("clip.mp4", clip)) is task, "its use is no change of the file"
    builder.start(VideoSource("other", clip))
    assert clip.stat().st_mtime == 1e9
    clip.unlink()
    assert frames.video.is_file() and frames.size_hw == SIZE
    decoded = list(frames.open().frames())
    assert [frame.time for frame in decoded] == pytest.approx(frames.times, abs=1e-9)
    for index in range(32):
        assert bar(picture(frames, index)) == bar(decoded[index].rgb) == index % 16


def test_packets_are_read_in_a_worker(builder: ProxyBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch):
    """In this process the function is another one."""
    monkeypatch.setattr("app.player.decoding.read_frame_table", lambda *_: pytest.fail("it was read here"))
    frames = finished(builder.start(VideoSource("clip", clip))).status().result
    assert frames is not None and frames.as_is


def test_where_files_cannot_be_linked_they_are_copied(
    builder: ProxyBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", fail)
    frames = finished(builder.start(VideoSource("clip", clip))).status().result
    assert frames is not None and frames.video is not None
    assert not frames.video.samefile(clip) and frames.video.read_bytes() == clip.read_bytes()


def test_a_webm_keeps_its_container(builder: ProxyBuilder, tmp_path: Path):
    clip = write_video(tmp_path / "clip.webm", pictures(9), codec="libvpx-vp9")
    frames = finished(builder.start(VideoSource("clip", clip))).status().result
    assert frames is not None and frames.video is not None and frames.video.suffix == ".webm"


def test_a_file_that_was_rejected_gets_a_proxy(builder: ProxyBuilder, clip: Path):
    source = VideoSource("clip", clip)
    first = finished(builder.start(source)).status().result
    builder.reject(source)
    second = finished(builder.last(source)).status().result
    assert first is not None and second is not None and (first.as_is, second.as_is) == (True, False)
    builder.reject(source)
    assert builder.start(source).status().result is second


def test_running_tasks_are_shared_and_failed_ones_restarted_only_by_start(builder: ProxyBuilder, tmp_path: Path):
    long = VideoSource("long", make_video(tmp_path / "long.mkv", frames=200))
    task = builder.start(long)
    assert builder.start(long) is builder.last(long) is task
    assert finished(task).status().state == "done" and builder.last(long) is task
    words = tmp_path / "words.mp4"
    words.write_text("not a video\n" * 20)
    failed = finished(builder.start(VideoSource("words.mp4", words)))
    assert builder.last(VideoSource("words.mp4", words)) is failed
    assert builder.start(VideoSource("words.mp4", words)) is not failed


def test_cancel_stops_one_task_and_the_next_one_runs(builder: ProxyBuilder, tmp_path: Path):
    long, clip = make_video(tmp_path / "long.mkv", frames=400), make_video(tmp_path / "clip.mp4")
    first, waiting, last = (builder.start(VideoSource(*it)) for it in (("long", long), ("other", long), ("clip", clip)))
    waiting.cancel()
    assert waiting.status().state == "cancelled"
    first.cancel()
    assert finished(first).status().state == "cancelled" and finished(last).status().state == "done"
    assert len(list(builder.folder.iterdir())) == 1


def test_a_visitor_has_four_videos_in_preparation_and_one_that_nobody_waits_for_ends(
    builder: ProxyBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    released = threading.Event()

    def wait(source: VideoSource, proxy: Path, progress: Progress, as_is: bool) -> None:
        while not released.wait(0.01):
            progress("preparing", 0, None)

    monkeypatch.setattr("app.player.proxy.prepare", wait)
    sources = [VideoSource(str(n), tmp_path / str(n)) for n in range(5)]
    tasks = [builder.start(source, "ann") for source in sources[:4]]
    assert builder.start(sources[0], "ann") is tasks[0]
    with pytest.raises(QueueFullError, match=r"^4 videos of yours are in the queue"):
        builder.start(sources[4], "ann")
    assert builder.start(sources[4]) and builder.start(VideoSource("his", tmp_path / "his"), "bob")
    with tasks[0].watched(), tasks[1].watched():
        with tasks[0].watched():
            pass
        assert not tasks[0].stopping
    assert tasks[0].wait(10).state == tasks[1].wait(10).state == "cancelled"
    released.set()


def test_a_failure_is_one_sentence_without_the_servers_folders(builder: ProxyBuilder, tmp_path: Path):
    words = tmp_path / "words.mp4"
    words.write_text("not a video\n" * 20)
    now = finished(builder.start(VideoSource("words.mp4", words))).status()
    assert now.state == "failed" and now.message.startswith("words.mp4: not a") and str(tmp_path) not in now.message
    now = finished(builder.start(VideoSource("gone.mp4", tmp_path / "gone.mp4"))).status()
    assert now.message == "gone.mp4: no such file or folder"


def test_proxies_that_were_not_used_for_long_are_deleted(
    builder: ProxyBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    frames = finished(builder.start(VideoSource("clip", clip))).status().result
    assert frames is not None and frames.video is not None
    monkeypatch.setattr(proxy, "KEEP_SECONDS", -60)
    builder.start(VideoSource("other", clip))
    assert not frames.video.exists()


def test_pictures_are_jpeg(tmp_path: Path, clip: Path):
    from PIL import Image

    with Image.open(io.BytesIO(build(clip, tmp_path).picture(0))) as image:
        assert image.format == "JPEG" and image.size == (160, 96)


def test_images_in_an_archive_and_pages_of_a_file_get_a_proxy(tmp_path: Path):
    shots = pictures(3)
    names = ("1.png", "2.png", "10.png")
    folder = write_images(tmp_path / "walk", dict(zip(names, shots, strict=True)))
    with zipfile.ZipFile(tmp_path / "walk.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"walk/{file.name}")
    Image.fromarray(shots[0]).save(
        tmp_path / "walk.tiff", save_all=True, append_images=[Image.fromarray(shot) for shot in shots[1:]]
    )
    for source in ("walk.zip", "walk.tiff"):
        frames = build(tmp_path / source, tmp_path)
        assert frames.video is not None and frames.length == 3
        assert [bar(picture(frames, index)) for index in range(3)] == [0, 1, 2]


def test_the_order_of_images_is_a_warning(tmp_path: Path):
    names = ("1.png", "2.png", "10.png")
    folder = write_images(tmp_path / "walk", dict(zip(names, pictures(3), strict=True)))
    with zipfile.ZipFile(tmp_path / "walk.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for source in (folder, tmp_path / "walk.zip"):
        assert build(source, tmp_path).warnings == (
            "frames are in natural order ('2.png' is number 2), not alphabetical ('10.png' would be)",
        )
    assert [bar(picture(build(folder, tmp_path), index)) for index in range(3)] == [0, 1, 2]
