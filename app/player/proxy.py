"""The frames of a video in a form that browsers display.

A video file that browsers play is served as it is, with the frame times that its packets state. Of any other one a
*proxy* is made once: H.264 whose frame times are whole milliseconds. Either way page and server mean the same frame by
the same number. Image folders are shown picture by picture. Frames of a data set that are missing are replaced by grey
pictures.
"""

import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tevit.io.files import link_or_copy, without_suffix
from tevit.io.ytvis import FPS, VideoInfo, find_frames

from ..isolation import Check, isolated
from ..projects.project import Project
from ..tasks import Quota, Runner, Task

if TYPE_CHECKING:
    import numpy as np

    from tevit.progress import Progress
    from tevit.video.reader import Video

MAX_SIDE = 1920  # pixels of a picture's long side: what screens show and decoders of small machines manage
JPEG_QUALITY = 85
GREY = 96  # of 255: coloured masks are visible on it in the light and the dark theme
MILLISECOND = Fraction(1, 1000)
VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}  # of what browsers are sent, by suffix
PLAYABLE = (".mp4", ".m4v", ".mov", ".webm")  # suffixes of files that may be served as they are
PREPARING = "preparing the video"
KEEP_SECONDS = 24 * 3600  # how long a proxy stays after its last use
LEFT_SECONDS = 30.0  # how long one is made without a page that waits for it
QUOTA = Quota(waiting=32, per_visitor=4)


@dataclass(frozen=True)
class VideoSource:
    """Where a video is read from: a file or folder (`path`), or images in an order (`files`, `fps`).

    name: display name. fps: frames per second of `files`.
    """

    name: str
    path: Path | None = None
    files: tuple[Path, ...] = ()
    fps: Fraction = Fraction(6)

    def open(self, check: Check | None = None) -> "Video":
        """Open and decode it in worker processes. check: called while frames are waited for; may raise to stop.

        Raises: ValueError, OSError, as `read`, and as `isolated`.
        """
        from .decoding import open_isolated

        return open_isolated(self, check)

    def read(self) -> "Video":
        """Open it in this process. Raises: ValueError, OSError, as `tevit.video.reader.open_video` does."""
        from tevit.video.reader import open_images, open_video

        if self.path is not None:
            return open_video(self.path)
        return open_images(self.files, self.name, self.fps)

    def redact(self, sentence: str) -> str:
        """Replace the server's path in an error sentence by the video's name."""
        return sentence.replace(str(self.path), self.name) if self.path else sentence


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which frames of `size_hw` are displayed: unchanged, or scaled to MAX_SIDE and even.

    A proxy of frames with an odd side has one more row or column, the last repeated, outside of this size.
    """
    ratio = MAX_SIDE / max(size_hw)
    if ratio >= 1:
        return size_hw
    height, width = (max(2, 2 * round(side * ratio / 2)) for side in size_hw)
    return height, width


@dataclass(frozen=True, eq=False)
class FrameSource(ABC):
    """The frames of a video in a form that browsers display. Thread-safe.

    name: display name. size_hw: of the upright frames, pixels. times: presentation times, seconds, strictly increasing.
    video: a file that browsers play, with exactly these times; None where there are only pictures. pixel_aspect: width
    to height of a pixel.
    """

    name: str
    size_hw: tuple[int, int]
    times: tuple[float, ...]
    video: Path | None = None
    pixel_aspect: float = 1.0

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Displayed height and width; in a proxy its upper left part, see `shown_size`."""
        return shown_size(self.size_hw)

    def picture(self, index: int) -> bytes:
        """A frame as JPEG, its long side at most MAX_SIDE.

        Raises: IndexError for a frame out of range; ValueError, OSError where its file cannot be read any more.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"{self.name}: expected a frame from 0 to {self.length - 1}, got {index}")
        return self._jpeg(index)

    @abstractmethod
    def _jpeg(self, index: int) -> bytes: ...


@dataclass(frozen=True, eq=False)
class BrowserVideo(FrameSource):
    """A file as it is, a proxy, or images.

    files: the images. warnings: parts of the source that could not be read, a sentence each. as_is: the video is the
    source's file, of which only packets were read.
    """

    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    as_is: bool = False

    def _jpeg(self, index: int) -> bytes:
        if self.video is None:
            return _isolated_image(self.files[index])
        function, time = _video_picture, self.times[index]
        return isolated(function, self.video, time, self.shown_hw, returns=bytes, subject=self.name)

    def open(self, check: Check | None = None) -> "Video":
        """`read` in worker processes, with `check` as for a source. Raises: ValueError, OSError where they cannot be
        read any more."""
        from .decoding import open_isolated

        return open_isolated(self, check)

    def read(self) -> "Video":
        """The frames as a video in the source's size; those of a source larger than MAX_SIDE are scaled up.

        Raises: ValueError, OSError where they cannot be read any more.
        """
        from tevit.video.reader import open_images, open_video, resized_video

        if self.video is None:
            fps = Fraction(1 / self.times[1]).limit_denominator(1001) if self.length > 1 else Fraction(6)
            return open_images(self.files, self.name, fps)
        video = resized_video(open_video(self.video), self.size_hw)
        video.name = self.name  # the proxy's file has a random name
        return video


@dataclass(frozen=True, eq=False)
class PosterFrame(FrameSource):
    """The first frame of a video, shown while its proxy is being made."""

    jpeg: bytes = b""

    @classmethod
    def from_video(cls, video: "Video", name: str) -> "PosterFrame":
        """name: the proxy's, by which the player keeps this picture until that is drawn.

        Raises: ValueError, OSError where no frame can be read.
        """
        jpeg = _encode_jpeg(next(iter(video.frames())).rgb)
        return cls(name, video.size_hw, (0.0,), pixel_aspect=float(video.pixel_aspect), jpeg=jpeg)

    def _jpeg(self, index: int) -> bytes:
        return self.jpeg


@dataclass(frozen=True, eq=False)
class PlaceholderFrames(FrameSource):
    """A video with some or all of its images missing, which are replaced by grey ones.

    reason: why, in one sentence. files: of the first frames.
    """

    reason: str = ""
    files: tuple[Path, ...] = ()

    def _jpeg(self, index: int) -> bytes:
        if index < len(self.files) and self.files[index].is_file():
            return _isolated_image(self.files[index])
        return _grey_jpeg(self.shown_hw)


def dataset_frames(project: Project, video_id: int) -> BrowserVideo | PlaceholderFrames:
    """The frames of a data set's video, at the 6 frames per second of YouTube-VIS.

    Raises: ValueError for a video that is not in the data set, or that has no frames at all.
    """
    info = project.info(video_id)
    if info.length < 1:
        raise ValueError(f"video {info.name!r} has no frames")
    times = tuple(index / FPS for index in range(info.length))
    files, reason = _find_images(info, project.frames, without_suffix(project.dataset.path).name)
    if project.allowed is not None and not all(map(project.allowed.contains, files)):
        files, reason = (), f"Frames of {info.name!r} lead out of the allowed folders: masks are shown on grey."
    if reason:
        return PlaceholderFrames(info.name, info.size_hw, times, reason=reason, files=files)
    return BrowserVideo(info.name, info.size_hw, times, files=files)


def _find_images(info: VideoInfo, root: Path | None, hint: str) -> tuple[tuple[Path, ...], str]:
    """Paths of a video's images, and why some cannot be shown. hint: the split to search first."""
    if root is None:
        return (), "No folder of frames was named, so masks are shown on grey."
    if not root.is_dir():
        return (), f"The folder of frames {root} is not there, so masks are shown on grey."
    try:
        files = tuple(find_frames(info, root, hint))
    except (FileNotFoundError, ValueError) as error:
        return (), f"{str(error)[:1].upper()}{str(error)[1:]}; masks are shown on grey."
    if len(files) != info.length:
        reason = f"Video {info.name!r}: expected {info.length} names of frames, got {len(files)}; the others are grey."
        return files, reason
    missing = [file.name for file in files if not os.path.isfile(file)]
    reason = f"{len(missing)} of {len(files)} frames are missing ({missing[0]}, …) and shown grey." if missing else ""
    return files, reason


# --- pictures


def _video_picture(path: Path, seconds: float, shown_hw: tuple[int, int]) -> bytes:
    """The frame of a video at a presentation time as JPEG. shown_hw: the part of it that is shown."""
    height, width = shown_hw
    return _encode_jpeg(_decode_frame(path, seconds)[:height, :width])


def _decode_frame(path: Path, seconds: float) -> "np.ndarray":
    """RGB of the frame at a presentation time, decoded from the keyframe before it."""
    from tevit.video.decode import DecodeReport, ToRgb, decode_frames, open_container, video_stream

    from .decoding import stamp_of

    with closing(open_container(path)) as container:
        stream = video_stream(container, path)
        assert stream.time_base is not None
        pts = stamp_of(seconds, stream.time_base)
        container.seek(pts, stream=stream)
        for frame in decode_frames(container, stream, DecodeReport()):
            if frame.pts == pts:
                return ToRgb()(frame)
            if frame.pts is not None and frame.pts > pts:
                break
    raise ValueError(f"{path.name}: its frame at {seconds:.3f} s cannot be read any more")


def _isolated_image(file: Path) -> bytes:
    return isolated(_read_image, file, returns=bytes, subject=file.name)


def _read_image(file: Path) -> bytes:
    """An image file as JPEG; its own bytes where a browser displays them unchanged."""
    from PIL import Image

    from tevit.video.decode import IMAGE_FAULTS, decode_image

    data = file.read_bytes()
    try:
        with Image.open(file) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L") and max(image.size) <= MAX_SIDE:
                return data
    except IMAGE_FAULTS:
        pass  # decoding says what is wrong
    bgr = decode_image(data, file.name)
    if bgr is None:
        raise ValueError(f"{file.name}: not an image that can be read")
    return _encode_jpeg(bgr[..., ::-1])


def _encode_jpeg(rgb: "np.ndarray") -> bytes:
    import cv2
    import numpy as np

    bgr = _scale(np.ascontiguousarray(rgb[..., ::-1]))
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


@lru_cache(maxsize=16)
def _grey_jpeg(size_hw: tuple[int, int]) -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".jpg", np.full((*size_hw, 3), GREY, np.uint8))[1].tobytes()


def _scale(picture: "np.ndarray") -> "np.ndarray":
    """uint8 (H, W, 3) at its displayed size."""
    import cv2

    height, width = shown_size((picture.shape[0], picture.shape[1]))
    if picture.shape[:2] == (height, width):
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


# --- making proxies


def prepare(source: VideoSource, proxy: Path, progress: "Progress", as_is: bool = True) -> BrowserVideo:
    """The frames of a source in a form that browsers display; for images on disk nothing is written.

    proxy: where the video will be, with the suffix of its container. as_is: whether the source's file may be served.
    Raises: as `make_proxy` and `isolated`.
    """
    proxy.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=proxy.parent) as folder:  # of a killed worker nothing stays
        temporary = Path(folder, proxy.name)
        options = {"returns": BrowserVideo, "subject": source.name, "progress": progress}
        frames = isolated(make_displayable, source, temporary, as_is, **options)
        if frames.video is None:
            return frames
        if frames.as_is and source.path is not None:  # by the studio, whatever path a worker names
            proxy = proxy.with_suffix(".webm" if frames.video.suffix == ".webm" else ".mp4")
            link_or_copy(source.path, temporary)
        temporary.replace(proxy)
        return replace(frames, video=proxy)


def make_displayable(source: VideoSource, proxy: Path, as_is: bool, progress: "Progress") -> BrowserVideo:
    """The source's file where browsers play it and `as_is` allows that, else as `make_proxy`."""
    from .decoding import NotPlayableError, read_frame_table

    path = source.path
    if as_is and path is not None and path.suffix.lower() in PLAYABLE and path.is_file():
        progress(PREPARING, 0, None)
        with suppress(NotPlayableError):
            table = read_frame_table(path, MAX_SIDE)
            return BrowserVideo(source.name, table.size_hw, table.times, proxy.with_suffix(table.suffix), as_is=True)
    return make_proxy(source, proxy, progress)


def make_proxy(source: VideoSource, proxy: Path, progress: "Progress | None" = None) -> BrowserVideo:
    """Make the frames of a source displayable; for images on disk nothing is written.

    proxy: the file to write, which appears only once it is complete. progress: may raise to cancel.
    Raises: ValueError, OSError for a source that cannot be read or a full disk, and whatever `progress` raises.
    """
    from tevit.video.overlay import VideoWriter

    report = progress or (lambda stage, done, total: None)
    report(PREPARING, 0, None)
    video = source.read()
    frames = BrowserVideo(source.name, video.size_hw, (), pixel_aspect=float(video.pixel_aspect))
    folder = video.path if video.path.is_dir() else video.path.parent
    files = source.files or tuple(folder / name for name in video.file_names)
    if files and files[0].is_file():  # neither pages of one file nor images in an archive
        assert video.length is not None and video.fps is not None
        times = tuple(float(index / video.fps) for index in range(video.length))
        return replace(frames, files=files, times=times, warnings=tuple(video.notes))
    moments: list[float] = []
    audio = video.path if video.has_audio else None
    size = shown_size(video.size_hw)
    with VideoWriter(proxy, size, fps=video.fps, audio_from=audio, clock=MILLISECOND) as writer:
        for frame in video.frames():
            moments.append(writer.write(_scale(frame.rgb), frame.time))
            report(PREPARING, len(moments), video.length)
    return replace(frames, times=tuple(moments), video=proxy, warnings=(*video.warnings, *writer.warnings))


ProxyTask = Task[BrowserVideo]


class ProxyBuilder:
    """Prepares videos in the background, beside the model. folder: its own, for the files, whose names cannot be
    guessed."""

    def __init__(self, folder: Path, workers: int = 1):
        self.folder = folder
        self._runner = Runner(workers, "proxies")
        self._tasks: dict[tuple, ProxyTask] = {}
        # Of the files by stem, seconds since 1970. The time of a file that is served as it is belongs to its source.
        self._used: dict[str, float] = {}
        self._rejected: set[tuple] = set()
        self._lock = threading.Lock()

    def start(self, source: VideoSource, visitor: str = "") -> ProxyTask:
        """The task of a source, which is started unless it is under way or its video is there already.

        visitor: for whom, as a `Quota` counts it; "" for nobody. Raises: QueueFullError.
        """
        key = _key(source)
        with self._lock:
            self._sweep()
            task = self._tasks.get(key)
            frames = task.status().result if task is not None else None
            if task is not None and (not task.over or _exists(frames)):
                if frames is not None and frames.video is not None:
                    self._used[frames.video.stem] = time.time()
                return task
            if visitor:
                QUOTA.check(self._runner.visitors(), visitor, "videos")
            proxy, as_is = self.folder / f"{secrets.token_hex(16)}.mp4", key not in self._rejected
            self._used[proxy.stem] = time.time()
            task = Task(
                source.name,
                lambda progress: prepare(source, proxy, progress, as_is),
                hide=source.redact,
                cancel_message="No page waits for this video any more: choose it again.",
                visitor=visitor,
            )
            self._tasks[key] = task
            return self._runner.submit(task)

    def last(self, source: VideoSource) -> ProxyTask:
        """As `start`, but a failed task is not started again."""
        with self._lock:
            task = self._tasks.get(_key(source))
        return task if task is not None and task.status().state == "failed" else self.start(source)

    def reject(self, source: VideoSource) -> None:
        """From now on a proxy is made of a source whose file was served as it is, and decodes to other frames."""
        key = _key(source)
        with self._lock:
            if key not in self._rejected:
                self._rejected.add(key)
                self._tasks.pop(key, None)

    def close(self) -> None:
        """Cancel all tasks and wait until they have stopped."""
        self._runner.close()

    def _sweep(self) -> None:
        """Remove videos that were not requested for KEEP_SECONDS, and tasks without a result."""
        oldest = time.time() - KEEP_SECONDS
        for file in (file for suffix in VIDEO_TYPES for file in self.folder.glob(f"*{suffix}")):
            if self._used.get(file.stem, 0.0) < oldest:
                file.unlink(missing_ok=True)
        self._used = {stem: used for stem, used in self._used.items() if used >= oldest}
        for key in [key for key, task in self._tasks.items() if task.over and not _exists(task.status().result)]:
            del self._tasks[key]


def _exists(frames: BrowserVideo | None) -> bool:
    """Whether a task has a result whose files are still on disk."""
    return frames is not None and (frames.video is None or frames.video.is_file())


def _key(source: VideoSource) -> tuple:
    """Equal for the same name and the same files, of unchanged size and time."""
    paths = source.files or ((source.path,) if source.path else ())
    stats = [path.stat() if path.exists() else None for path in paths]
    stamps = ((stat.st_mtime_ns, stat.st_size) if stat else None for stat in stats)
    return (source.name, source.fps, *zip(paths, stamps, strict=True))
