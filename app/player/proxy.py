"""What the browser is shown of a video: every frame as it was filmed, in a form that browsers play.

Of a video file a *proxy* is made once: H.264 whose frame times are whole milliseconds, so that page and server mean the
same frame by the same number. Image folders are shown picture by picture, as they are.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tevit.progress import Cancelled

if TYPE_CHECKING:
    import numpy as np

    from tevit.progress import Progress
    from tevit.video.reader import Video

LONGEST = 1920  # pixels of a picture's long side: what screens show and decoders of small machines manage
QUALITY = 85  # of JPEG
MILLISECOND = Fraction(1, 1000)
KEEP_SECONDS = 24 * 3600  # how long a proxy stays after it was last asked for

State = Literal["waiting", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class VideoSource:
    """Where a video comes from: a file or folder (`path`), or images in an order (`files`, `fps` to the second).

    name: as people know it.
    """

    name: str
    path: Path | None = None
    files: tuple[Path, ...] = ()
    fps: Fraction = Fraction(6)

    def open(self) -> "Video":
        """Raises: ValueError, OSError, as `tevit.video.reader.open_video` does."""
        from tevit.video.reader import open_images, open_video

        if self.path is not None:
            return open_video(self.path)
        return open_images(self.files, self.name, self.fps)

    def without_folders(self, sentence: str) -> str:
        """A sentence for people who need not know the server's folders."""
        return sentence.replace(str(self.path), self.name) if self.path else sentence


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which frames of `size_hw` are shown: their own, or smaller by a ratio, and then even.

    A proxy of frames with an odd side has one more row or column, the last repeated, outside of this size.
    """
    ratio = LONGEST / max(size_hw)
    if ratio >= 1:
        return size_hw
    height, width = (max(2, 2 * round(side * ratio / 2)) for side in size_hw)
    return height, width


@dataclass(frozen=True, eq=False)
class BrowserVideo:
    """One source's pictures. May be used from any thread.

    name: as people know it. size_hw: of the source's upright frames, pixels. times: seconds, strictly increasing; of a
    proxy what it states, in whole milliseconds. video: the proxy, None for images. files: the images. pixel_aspect:
    width to height of a pixel (the proxy states none). warnings: what of the source could not be read, a sentence each.
    """

    name: str
    size_hw: tuple[int, int]
    times: tuple[float, ...]
    video: Path | None = None
    files: tuple[Path, ...] = ()
    pixel_aspect: float = 1.0
    warnings: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width of what is shown; in a proxy its upper left part, see `shown_size`."""
        return shown_size(self.size_hw)

    def picture(self, index: int) -> bytes:
        """A frame as JPEG, its long side at most LONGEST.

        Raises: IndexError for a frame that is not there; ValueError, OSError where its file cannot be read any more.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"{self.name}: expected a frame from 0 to {self.length - 1}, got {index}")
        if self.video is not None:
            height, width = self.shown_hw
            return _jpeg(_proxy_frame(self.video, self.times[index])[:height, :width])
        return _image(self.files[index])

    def opened(self) -> "Video":
        """The pictures as a video again, in the source's size; of a source larger than LONGEST they are scaled up.

        Raises: ValueError, OSError where they cannot be read any more.
        """
        from tevit.video.reader import fitted, open_images, open_video

        if self.video is None:
            fps = Fraction(1 / self.times[1]).limit_denominator(1001) if self.length > 1 else Fraction(6)
            return open_images(self.files, self.name, fps)
        video = fitted(open_video(self.video), self.size_hw)
        video.name = self.name  # the proxy's file has one that cannot be guessed
        return video


@dataclass(frozen=True, eq=False)
class PosterFrame:
    """The first picture of a video, before there is more of it."""

    name: str
    size_hw: tuple[int, int]
    jpeg: bytes
    pixel_aspect: float = 1.0
    times: tuple[float, ...] = (0.0,)
    video: Path | None = None

    @classmethod
    def of(cls, video: "Video") -> "PosterFrame":
        """Raises: ValueError, OSError where no picture can be read."""
        first = next(iter(video.frames()))
        return cls(video.name, video.size_hw, _jpeg(first.rgb), float(video.pixel_aspect))

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width of what is shown."""
        return shown_size(self.size_hw)

    def picture(self, index: int) -> bytes:
        """JPEG."""
        return self.jpeg


def _proxy_frame(path: Path, due: float) -> "np.ndarray":
    """RGB of the frame that is due at `due` seconds: from the keyframe before it on."""
    from contextlib import closing

    from tevit.video.decode import ToRgb, open_container, video_stream

    with closing(open_container(path)) as container:
        stream = video_stream(container, path)
        assert stream.time_base is not None
        wanted = round(Fraction(round(due * 1000), 1000) / stream.time_base)
        container.seek(wanted, stream=stream)
        for frame in container.decode(stream):
            if frame.pts == wanted:
                return ToRgb()(frame)
    raise ValueError(f"{path.name}: its frame at {due:.3f} s cannot be read any more")


def _image(file: Path) -> bytes:
    """The file's own bytes where a browser shows them as they are: a JPEG that is not too large."""
    import cv2
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    data = file.read_bytes()
    try:
        with Image.open(file) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L") and max(image.size) <= LONGEST:
                return data
    except UnidentifiedImageError:
        pass  # of a format that OpenCV may know
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise ValueError(f"{file.name}: not an image that can be read")
    return _jpeg(bgr[..., ::-1])


def _jpeg(rgb: "np.ndarray") -> bytes:
    import cv2
    import numpy as np

    bgr = _scaled(np.ascontiguousarray(rgb[..., ::-1]))
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _scaled(picture: "np.ndarray") -> "np.ndarray":
    import cv2

    height, width = shown_size((picture.shape[0], picture.shape[1]))
    if picture.shape[:2] == (height, width):
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def make(source: VideoSource, proxy: Path, progress: "Progress | None" = None) -> BrowserVideo:
    """Make what is shown of a source; for images nothing is written.

    proxy: the file to write, which appears only once it is whole. progress: may raise to stop.
    Raises: ValueError, OSError for a source that cannot be read or a disk that is full, and what `progress` raises.
    """
    from tevit.video.reader import VideoWriter

    video = source.open()
    facts = BrowserVideo(source.name, video.size_hw, (), pixel_aspect=float(video.pixel_aspect))
    if video.file_names:
        assert video.length is not None and video.fps is not None
        files = source.files or tuple(_folder(video) / name for name in video.file_names)
        return replace(facts, files=files, times=tuple(float(index / video.fps) for index in range(video.length)))
    times: list[float] = []
    sound = video.path if video.has_audio else None
    size = shown_size(video.size_hw)
    with VideoWriter(proxy, size, fps=video.fps, audio_from=sound, clock=MILLISECOND) as writer:
        for frame in video.frames():
            times.append(writer.write(_scaled(frame.rgb), frame.time))
            if progress is not None:
                progress("preparing", len(times), video.length)
    return replace(facts, times=tuple(times), video=proxy, warnings=(*video.warnings, *writer.warnings))


def _folder(video: "Video") -> Path:
    return video.path if video.path.is_dir() else video.path.parent


@dataclass(frozen=True)
class Prepared:
    """How far a preparation is. done, total: frames (total None where unknown, and not exact). sentence: why it
    failed."""

    state: State
    done: int
    total: int | None
    sentence: str
    footage: BrowserVideo | None

    @property
    def over(self) -> bool:
        """True once nothing more will change."""
        return self.state in ("done", "cancelled", "failed")


class ProxyTask:
    """One source on its way to its footage. The preparer writes; pages look at `now` and may `cancel()`."""

    def __init__(self, source: VideoSource):
        self.source = source
        self.now = Prepared("waiting", 0, None, "", None)  # replaced as a whole: readers need no lock
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Stop within a frame; nothing is kept."""
        self._stop.set()
        if self.now.state == "waiting":
            self.now = replace(self.now, state="cancelled")

    def work(self, proxy: Path) -> None:
        """Make the footage; whatever goes wrong becomes a sentence."""
        try:
            self._note("opening", 0, None)
            footage = make(self.source, proxy, self._note)
            self.now = replace(self.now, state="done", footage=footage)
        except Cancelled:
            self.now = replace(self.now, state="cancelled")
        except (ValueError, OSError, MemoryError) as error:
            self._fail(self.source.without_folders(str(error)))
        except Exception as error:
            import logging

            logging.getLogger(__name__).exception("preparing %s", self.source.name)
            self._fail(f"{self.source.name}: unexpected {type(error).__name__}; the server's log says where.")

    def _note(self, stage: str, done: int, total: int | None) -> None:
        if self._stop.is_set():
            raise Cancelled
        self.now = Prepared("running", done, total, "", None)

    def _fail(self, sentence: str) -> None:
        self.now = replace(self.now, state="failed", sentence=sentence)


class ProxyBuilder:
    """Makes footage in threads of its own, beside the model. folder: for the proxies, whose names cannot be guessed."""

    def __init__(self, folder: Path, workers: int = 1):
        self.folder = folder
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="preparer")
        self._known: dict[tuple, ProxyTask] = {}
        self._going: list[ProxyTask] = []
        self._lock = threading.Lock()

    def start(self, source: VideoSource) -> ProxyTask:
        """Begin, or give what goes on or was made of the same file before; poll the answer's `now`."""
        key = _key(source)
        with self._lock:
            self._sweep()
            known = self._known.get(key)
            if known is not None and (not known.now.over or _touch(known.now.footage)):
                return known
            preparation = self._known[key] = ProxyTask(source)
            self._going = [item for item in self._going if not item.now.over] + [preparation]
            self._pool.submit(preparation.work, self.folder / f"{secrets.token_hex(16)}.mp4")
        return preparation

    def last(self, source: VideoSource) -> ProxyTask:
        """The same, but that one which failed is not begun again."""
        with self._lock:
            known = self._known.get(_key(source))
        return known if known is not None and known.now.state == "failed" else self.start(source)

    def close(self) -> None:
        """Stop everything that goes on and wait for its end."""
        with self._lock:
            going = list(self._going)
        for preparation in going:
            preparation.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _sweep(self) -> None:
        """Remove proxies that nobody has asked for for long, and failures."""
        oldest = time.time() - KEEP_SECONDS
        for file in self.folder.glob("*.mp4"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
        over = [key for key, item in self._known.items() if item.now.over and not _there(item.now.footage)]
        for key in over:
            del self._known[key]


def _there(footage: BrowserVideo | None) -> bool:
    return footage is not None and (footage.video is None or footage.video.is_file())


def _touch(footage: BrowserVideo | None) -> bool:
    """Count as asked for now; False where it is gone."""
    if not _there(footage):
        return False
    if footage is not None and footage.video is not None:
        footage.video.touch()
    return True


def _key(source: VideoSource) -> tuple:
    """The same for the same bytes under the same name, as far as the file system tells."""
    paths = source.files or ((source.path,) if source.path else ())
    return (source.name, source.fps, *_stamps(paths))


def _stamps(paths: tuple[Path, ...]) -> Iterator[tuple[Path, int, int]]:
    for path in paths:
        stat = path.stat() if path.exists() else None
        yield path, stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0
