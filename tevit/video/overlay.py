"""Drawing tracks on frames (masks, contours, labels), and writing H.264 in mp4 as browsers play it, with audio."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

from tevit.io.files import atomic
from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import Track, VideoResult
from tevit.video.decode import ACCURATE, open_container, stated_span, video_stream
from tevit.video.reader import Video, open_video

CLOCK = Fraction(1, 90000)  # the usual time base of video: finer than any frame rate
_BT709 = 1  # the code of matrix, primaries and transfer
MP4_SOUND = ("aac", "mp3", "opus", "flac")  # audio codecs that both mp4 and browsers support
_RUN_UP = 0.1  # seconds of audio before the start: decoders need a few earlier packets


class VideoWriter:
    """A context manager that writes an H.264 video; the file appears only when all went well.

    yuv420p, BT.709, limited range, a keyframe at least every 15 frames, index at the start of the file. warnings: one
    sentence for each problem with the audio.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size_hw: tuple[int, int],
        *,
        fps: Fraction | None = None,
        audio_from: Path | None = None,
        audio_start: float = 0.0,
        pixel_aspect: Fraction | None = None,
        clock: Fraction = CLOCK,
    ):
        """size_hw: of the frames, pixels. Odd sizes get one more row or column, the last one repeated, so that pixels
        keep their coordinates. fps: sets the last frame's duration; the others last until the next. audio_from: a file
        whose audio is added, copied where mp4 and browsers support it, otherwise encoded as AAC. audio_start: seconds
        of it to skip, from that file's first frame. pixel_aspect: width to height of a pixel. clock: times are rounded
        to its multiples."""
        self.warnings: list[str] = []
        self._path = Path(path)
        self._size_hw = size_hw
        self._fps = fps or Fraction(25)
        self._audio_from = audio_from
        self._audio_start = audio_start
        self._pixel_aspect = pixel_aspect
        self._clock = clock
        self._reformatter = VideoReformatter()
        self._stack = ExitStack()
        self._audio: _AudioCopier | None = None
        self._audio_end = float("inf")
        self._last = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = f"file:{stack.enter_context(atomic(self._path)).resolve()}"
            container = stack.enter_context(av.open(file, "w", "mp4", container_options={"movflags": "+faststart"}))
            codec = "libx264" if "libx264" in av.codecs_available else "h264"
            options = {"crf": "21", "preset": "veryfast", "bf": "0"}
            stream = container.add_stream(codec, rate=self._fps, options=options)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = (side + side % 2 for side in self._size_hw)
            stream.pix_fmt = "yuv420p"
            stream.gop_size = 15
            context = stream.codec_context
            context.time_base = self._clock
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = ColorRange.MPEG
            if self._pixel_aspect:
                context.sample_aspect_ratio = self._pixel_aspect
            self._container, self._stream = container, stream
            if self._audio_from is not None:
                self._audio = _open_audio(self._audio_from, self._audio_start, container, stack, self.warnings)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, rgb: np.ndarray, time: float) -> float:
        """Add a frame: uint8 (H, W, 3), presented `time` seconds from the start; times must increase.
        Returns the time that the file states: a multiple of the clock, later than the previous frame's.
        Raises: ValueError for a frame of another size.
        """
        height, width = self._size_hw
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of {(height, width, 3)}, got {rgb.dtype} of {rgb.shape}")
        if height % 2 or width % 2:
            rgb = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
        )
        frame.pts = self._last = max(round(time / self._clock), self._last + 1)
        frame.time_base = self._clock
        self._container.mux(self._stream.encode(frame))
        if self._audio is not None:
            self._audio.copy_until(time)
        return float(self._last * self._clock)

    def end_audio(self, time: float | None) -> None:
        """End the audio at `time` seconds; None: at its own end. To be called after the last frame."""
        self._audio_end = float("inf") if time is None else time

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._last < 0:
            raise ValueError(f"{self._path}: no frame was written")
        self._container.mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.copy_until(self._audio_end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


def _open_audio(
    path: Path, skip: float, output: OutputContainer, stack: ExitStack, warnings: list[str]
) -> "_AudioCopier | None":
    """skip: seconds from the file's first frame. stack: closes the file."""
    container = open_container(path)
    stack.callback(container.close)
    if not container.streams.audio:
        return None
    source = container.streams.audio[0]
    if not source.codec_context:
        warnings.append(f"{path.name}: its sound has a format that cannot be read and is left out")
        return None
    start, _ = stated_span(container, video_stream(container, path))
    return _AudioCopier(path.name, container.demux(source), source, output, start + skip, warnings)


class _AudioCopier:
    """Copies or encodes the audio of a file, interleaved with the frames that are written."""

    def __init__(
        self,
        name: str,
        packets: Iterator[av.Packet],
        source: AudioStream,
        output: OutputContainer,
        start: float,
        warnings: list[str],
    ):
        """start: seconds of the source's clock that become 0."""
        self._name = name
        self._start = start
        self._output = output
        self._warnings = warnings
        self._copied = source.codec.canonical_name in MP4_SOUND
        if self._copied:
            self._stream = output.add_stream_from_template(source)
        else:
            self._stream = output.add_stream("aac", rate=48000)
            self._stream.layout = "mono" if source.codec_context.channels == 1 else "stereo"
        self._packets = self._convert(packets)
        self._next: tuple[float, list[av.Packet]] | None = (0.0, [])

    def copy_until(self, until: float) -> None:
        """Write the audio up to `until` seconds; damaged audio ends there, with a warning."""
        while self._next is not None and self._next[0] <= until:
            try:
                self._output.mux(self._next[1])
                self._next = next(self._packets, None)
            except FFmpegError as error:
                self._warnings.append(f"{self._name}: its sound is damaged and ends early ({error.strerror})")
                self._next = None

    def _convert(self, packets: Iterator[av.Packet]) -> Iterator[tuple[float, list[av.Packet]]]:
        """Packets to write, each with the time in seconds at which they begin."""
        for packet in packets:
            if packet.dts is None or packet.pts is None:
                continue
            time = float(packet.pts * packet.time_base) - self._start
            if time < -_RUN_UP:
                continue
            if self._copied:
                shift = round(self._start / packet.time_base)
                packet.stream = self._stream
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                yield time, [packet]
            else:
                encoded = []
                for frame in packet.decode():
                    frame.pts = frame.pts - round(self._start / frame.time_base) if frame.pts is not None else None
                    encoded += self._stream.encode(frame)
                yield time, encoded
        if not self._copied:
            yield float("inf"), self._stream.encode(None)


# --- tracks drawn on frames


# Greedily the colour farthest from the previous ones in OKLab, as seen with normal vision and with protanopia,
# deuteranopia and tritanopia, among colours that are neither dark nor pale.
PALETTE = (
    (90, 195, 255),
    (240, 225, 60),
    (195, 30, 0),
    (120, 0, 240),
    (210, 150, 105),
    (135, 255, 240),
    (165, 105, 165),
    (120, 135, 255),
    (240, 0, 105),
    (255, 180, 150),
    (135, 60, 165),
    (195, 195, 0),
    (135, 30, 75),
    (0, 135, 105),
    (195, 120, 0),
    (180, 150, 195),
    (60, 75, 120),
    (120, 105, 210),
    (210, 240, 180),
    (75, 105, 45),
    (150, 225, 210),
    (240, 105, 150),
    (105, 165, 255),
    (105, 105, 255),
)
OWN_COLORS = 12
"""The first of PALETTE: a track has the one of its id, unless another visible track has it."""
_DARK, _WHITE = (20, 20, 20), (255, 255, 255)
_QUEUED = 4  # frames drawn ahead of the encoder

_MAX_COVERED = 0.1  # share of any object that a label may cover
_MAX_LABELS = 0.15  # share of the frame that all labels may take

_Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels
RGB = tuple[int, int, int]


class _Drawn(NamedTuple):
    """A track in one frame. mask: uint8 (h, w), that of `box`. area: pixels of the mask."""

    track: Track
    box: _Box
    mask: np.ndarray
    area: int
    rgb: RGB


def color(track_id: int) -> RGB:
    """The RGB colour of a track on its own, 0..255, from twelve that colour-blind people can distinguish, too."""
    return PALETTE[track_id % OWN_COLORS]


def track_colors(ids: Iterable[int], known: Mapping[int, RGB] | None = None) -> dict[int, RGB]:
    """The RGB colours of tracks that are visible together, by id: all different as long as there are 24 or fewer.

    The lowest ids choose first: `color(id)`, else the first of PALETTE that none has, else one that the fewest have.
    known: colours that stay as they are. Source of the palette's order: see PALETTE.
    """
    colors = dict(known or {})
    ids = sorted(set(ids))
    uses = Counter(colors[id] for id in ids if id in colors)
    for id in ids:
        if id not in colors:
            least = min(uses[rgb] for rgb in PALETTE)
            own = color(id)
            colors[id] = own if uses[own] == least else next(rgb for rgb in PALETTE if uses[rgb] == least)
            uses[colors[id]] += 1
    return colors


def overlay(
    frame_rgb: np.ndarray,
    result: VideoResult,
    index: int,
    *,
    opacity: float = 0.5,
    contours: bool = True,
    labels: bool = True,
    min_score: float = 0.0,
    colors: Mapping[int, RGB] | None = None,
) -> np.ndarray:
    """A copy of a frame with the tracks of frame `index` drawn on it, those with higher scores on top.

    Labels are beside their objects; where there is no room for one, it is left out. frame_rgb: uint8 (H, W, 3) of the
    result's size. opacity: of the masks, 0 to 1. min_score: tracks below it are left out. colors: by track id; those of
    `track_colors` by default.
    Raises: ValueError if the frame's size is not the result's.
    """
    height, width = result.size_hw
    if frame_rgb.shape != (height, width, 3):
        raise ValueError(f"video {result.name!r}: expected a frame of {(height, width, 3)}, got {frame_rgb.shape}")
    out = np.array(frame_rgb, np.uint8, order="C")
    tracks = sorted((track for track in result.tracks if track.score >= min_score), key=lambda track: track.score)
    colors = colors or track_colors(track.id for track in tracks)
    visible = [(track, rle) for track in tracks if (rle := track.rles[index]) is not None]
    boxes: list[_Box] = []  # of the masks, one pixel wider on each side where the frame allows
    for x1, y1, x2, y2 in masks.to_boxes_xyxy([rle for _, rle in visible]) if visible else ():
        boxes.append((max(int(x1) - 1, 0), max(int(y1) - 1, 0), min(int(x2) + 1, width), min(int(y2) + 1, height)))
    scale = max(min(height, width) / 360, 0.5)  # of lines and letters: 1 for a short side of 360 pixels
    drawn = []
    for (track, rle), box in zip(visible, boxes, strict=True):
        if box[0] < box[2] and box[1] < box[3]:
            mask = masks.decode_within(rle, box)
            drawn.append(_Drawn(track, box, mask, cv2.countNonZero(mask), colors[track.id]))
            _draw_mask(out, drawn[-1], opacity, scale if contours else 0)
    if labels:
        _draw_labels(out, drawn, result, scale)
    return out


def _draw_mask(out: np.ndarray, drawn: _Drawn, opacity: float, scale: float) -> None:
    """scale: of the contour's width; 0: no contour."""
    x1, y1, x2, y2 = drawn.box
    region = out[y1:y2, x1:x2]
    cv2.copyTo(cv2.LUT(region, _blend_table(drawn.rgb, opacity)), drawn.mask, region)
    if scale:
        contours, _ = cv2.findContours(drawn.mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x1, y1))
        # Removing points within 0.75 pixels smoothes the pixels' stairs and makes drawing four times as fast.
        smooth = [cv2.approxPolyDP(points, 0.75, True) for points in contours]
        cv2.polylines(out, smooth, True, drawn.rgb, max(1, round(1.5 * scale)), cv2.LINE_AA)


@lru_cache(maxsize=64)
def _blend_table(rgb: tuple[int, int, int], opacity: float) -> np.ndarray:
    """uint8 (1, 256, 3): each level of each channel under a colour of some opacity."""
    levels = np.arange(256)[None, :, None] * (1 - opacity) + np.array(rgb) * opacity
    return np.round(levels).astype(np.uint8)


# --- labels


def _draw_labels(out: np.ndarray, drawn: Sequence[_Drawn], result: VideoResult, scale: float) -> None:
    """Labels are placed from the highest score down, as long as they take less than _MAX_LABELS of the frame."""
    placed: list[_Box] = []
    room = _MAX_LABELS * out.shape[0] * out.shape[1]
    for item in reversed(drawn):
        name = result.category_name(item.track.category_id).replace("_", " ")
        image = _label_image(f"{name} {item.track.score:.2f}", item.rgb, max(9, round(13 * scale)))
        height, width = image.shape[:2]
        room -= height * width
        place = _label_place(item.box, (height, width), out.shape[:2], placed, drawn)
        if place is not None and (room >= 0 or not placed):
            x, y = place
            placed.append((x, y, x + width, y + height))
            out[y : y + height, x : x + width] = image


@lru_cache(maxsize=512)
def _label_image(text: str, rgb: tuple[int, int, int], size: int) -> np.ndarray:
    """uint8 (h, w, 3): letters of `size` pixels on the track's colour, dark or white for contrast."""
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    _, high, _, low = font.getbbox("Ag")
    pad = max(2, size // 4)
    image = Image.new("RGB", (round(right - left) + 2 * pad, round(low - high) + 2 * pad), rgb)
    bright = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    ImageDraw.Draw(image).text((pad - left, pad - high), text, font=font, fill=_DARK if bright > 128 else _WHITE)
    return np.asarray(image)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _label_place(
    box: _Box, size_hw: tuple[int, int], frame_hw: tuple[int, ...], placed: Sequence[_Box], drawn: Sequence[_Drawn]
) -> tuple[int, int] | None:
    """Left and top of a label: above, below, right or left of the box, else at the top inside it; None without room.

    There it covers neither another label nor more than _MAX_COVERED of any object.
    """
    (height, width), (x1, y1, x2, y2) = size_hw, box
    x, y = min(x1, frame_hw[1] - width), min(y1, frame_hw[0] - height)
    for left, top in ((x, y1 - height), (x, y2), (x2, y), (x1 - width, y), (x, y)):
        label = left, top, left + width, top + height
        inside = left >= 0 and top >= 0 and label[2] <= frame_hw[1] and label[3] <= frame_hw[0]
        if inside and not any(_overlap(label, other) for other in placed) and _covered(label, drawn) <= _MAX_COVERED:
            return left, top
    return None


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _covered(label: _Box, drawn: Sequence[_Drawn]) -> float:
    """The largest share of an object that a label covers."""
    shares = [0.0]
    for item in drawn:
        if _overlap(label, item.box):
            x, y = item.box[:2]
            part = item.mask[max(label[1] - y, 0) : label[3] - y, max(label[0] - x, 0) : label[2] - x]
            shares.append(np.count_nonzero(part) / max(item.area, 1))
    return max(shares)


# --- video


class _BackgroundWriter:
    """Writes frames in a thread, in order, while the next ones are drawn. Errors are raised by a later call or at the
    end."""

    def __init__(self, writer: VideoWriter):
        self._writer, self._thread = writer, ThreadPoolExecutor(1, "encoder")
        self._pending: deque[Future[float]] = deque()

    def __enter__(self) -> "_BackgroundWriter":
        return self

    def write(self, rgb: np.ndarray, time: float) -> None:
        self._pending.append(self._thread.submit(self._writer.write, rgb, time))
        if len(self._pending) > _QUEUED:
            self._pending.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        for future in self._pending if kind is None else ():
            future.result()


def write_overlay(
    source: str | os.PathLike | Video,
    result: VideoResult | Iterable[VideoResult],
    path: str | os.PathLike,
    *,
    progress: Progress | None = None,
    min_score: float = 0.0,
    opacity: float = 0.5,
    contours: bool = True,
    labels: bool = True,
    sound: bool = True,
) -> None:
    """Decode a video again, draw the tracks and write an mp4 with the original's times and audio.

    source: a video file, a folder of images, or an opened `Video`, whose `warnings` get problems with the audio.
    result: of the video, or of consecutive segments of it, in order; the file ends, with its audio, where they end.
    sound: False leaves out the audio; the other options are those of `overlay`.
    Raises: what `Video.frames`, `VideoWriter` and `progress` raise; no file is written then.
    """
    video = source if isinstance(source, Video) else open_video(source)
    segments, total = ([result], result.length) if isinstance(result, VideoResult) else (result, video.length)
    places = ((segment, index) for segment in segments for index in range(segment.length))
    frames = video.frames()
    first = list(islice(frames, 1))  # before the writer opens: `video.start` is known only after it
    style = {"opacity": opacity, "contours": contours, "labels": labels, "min_score": min_score}
    colors: dict[int, RGB] = {}
    with _open_writer(path, video, sound) as writer, _BackgroundWriter(writer) as background:
        for frame in chain(first, frames):
            if (place := next(places, None)) is None:
                writer.end_audio(frame.time)
                break
            segment, index = place
            if index == 0:  # a track keeps its colour in later segments
                colors = track_colors([track.id for track in segment.tracks if track.score >= min_score], colors)
            background.write(overlay(frame.rgb, segment, index, colors=colors, **style), frame.time)
            if progress is not None:
                progress("drawing", frame.index + 1, total)
        else:
            writer.end_audio(video.end)
    video.warnings += writer.warnings


def _open_writer(path: str | os.PathLike, video: Video, sound: bool) -> VideoWriter:
    audio = video.path if sound and video.has_audio else None
    aspect = video.pixel_aspect
    return VideoWriter(
        path, video.size_hw, fps=video.fps, audio_from=audio, audio_start=video.start, pixel_aspect=aspect
    )
