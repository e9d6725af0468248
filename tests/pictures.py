"""Pictures and videos made on the spot: by the formula of the recorded pipeline, and with PyAV in every container."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from tevit.video.reader import open_video

SIZE = (48, 64)
COLORS = ((200, 40, 40), (40, 180, 60), (30, 60, 210), (230, 220, 40))  # top left, top right, bottom left, bottom right

# The encoders' own defaults are slow (VP9) or give the first frame most of the bits (MPEG-4).
_QUICK = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}, "mpeg4": {"qmin": "4", "qmax": "4"}}


def frame_pixels(height: int, width: int, frame: int, seed: int) -> np.ndarray:
    """uint8 BGR (H, W, 3) of the recorded pipeline: a folded ramp that curves, plus a hash as noise; whole numbers."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    return np.stack([_channel(y, x, c, frame, seed) for c in range(3)], axis=-1)


def _channel(y: np.ndarray, x: np.ndarray, c: int, frame: int, seed: int) -> np.ndarray:
    curve = (x * x * (1 + c) + y * y * (3 - c) + x * y) // (151 + 31 * c + seed)
    ramp = (x * (3 + c + seed % 5) + y * (5 - c + seed % 3) + frame * (17 + 4 * c) + curve) % 510
    folded = np.minimum(ramp, 510 - ramp)
    noise = (x * 73856093) ^ (y * 19349663) ^ ((frame + seed + 1) * 83492791) ^ ((c + 1) * 49979687)
    return np.clip(folded + ((noise >> 7) & 31) - 16, 0, 255).astype(np.uint8)


def quadrants(size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 RGB (H, W, 3): four flat colours, so that turning and mirroring show."""
    height, width = size_hw
    out = np.empty((height, width, 3), np.uint8)
    halves = [(y, x) for y in (slice(None, height // 2), slice(height // 2, None)) for x in (0, 1)]
    for (rows, right), rgb in zip(halves, COLORS, strict=True):
        out[rows, width // 2 if right else 0 : None if right else width // 2] = rgb
    return out


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    times: Sequence[Fraction] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = 10,
    sound: str | None = None,
    sound_start: int = 0,
    options: dict[str, str] | None = None,
    **stream_attributes: Any,
) -> Path:
    """Write RGB frames, each due at its time (by default at a steady rate); sound: a codec, see `_beeps`.

    stream_attributes: set on the video stream; `rotation` as degrees, horizontal flip, vertical flip.
    """
    frames = list(frames)
    base = Fraction(1, 1000) if times else Fraction(1, fps)
    ticks = [round(time / base) for time in times] if times else list(range(len(frames)))
    with av.open(str(path), "w", container_options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or _QUICK.get(codec, {}))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        if "rotation" in stream_attributes:
            stream.set_display_rotation(*stream_attributes.pop("rotation"))
        for name, value in stream_attributes.items():
            setattr(stream.codec_context, name, value)
        beeps = _beeps(container, sound, float(len(frames) / fps), sound_start) if sound else []
        for tick, rgb in zip(ticks, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for packets in beeps:
            container.mux(packets)
    return path


def _beeps(container: OutputContainer, codec: str, seconds: float, start: int) -> Iterable[list[av.Packet]]:
    """Half a second of a tone at every whole second, counted from `start` seconds."""
    rate = 48000
    stream = container.add_stream(codec, rate=rate)
    assert isinstance(stream, AudioStream)
    time = np.arange(int(seconds * rate)) / rate
    tone = (np.sin(2 * np.pi * 440 * time) * 8000 * (time % 1 < 0.5)).astype(np.int16)

    def packets() -> Iterable[list[av.Packet]]:
        for first in range(0, len(tone), 960):
            samples = np.repeat(tone[first : first + 960], 2)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first + start * rate
            yield stream.encode(frame)
        yield stream.encode(None)

    return packets()


def onsets(path: Path) -> list[float]:
    """Seconds, counted from the first picture, at which the sound of a file sets in."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).time or 0.0
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", 8000)
        frames = [frame for frame in container.decode(audio=0)]
        start = frames[0].time or 0.0
        loud = np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])
    places = np.flatnonzero(np.abs(loud) > 0.03)
    return [start - first + place / 8000 for place in places[np.diff(places, prepend=-9999) > 2000]]


def pictures(count: int, size_hw: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Noise with a bright bar that moves on with each frame, so that a wrong frame shows."""
    noise = np.random.default_rng(0).integers(0, 60, (count, *size_hw, 3), dtype=np.uint8)
    for index, frame in enumerate(noise):
        frame[:, index * 4 % size_hw[1] :][:, :4] = 250
    return list(noise)


def bar(rgb: np.ndarray) -> int:
    """Which frame of `pictures` this is, up to 16."""
    return int(rgb[..., 1].mean(0).argmax()) // 4


def write_images(folder: Path, frames: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rgb in frames.items():
        assert cv2.imwrite(str(folder / name), rgb[..., ::-1])
    return folder


def times(path: Path) -> list[float]:
    """When the frames of a video are due, in seconds."""
    return [frame.time for frame in open_video(path).frames()]


BITS = 10  # of a frame's number
PLAIN_HW = (240, 320)  # of numbered pictures


def numbered(index: int) -> np.ndarray:
    """uint8 RGB (240, 320, 3): a row of blocks at the top, bright where the frame's number has a one."""
    picture = np.full((*PLAIN_HW, 3), 70, np.uint8)
    for bit in range(BITS):
        picture[8:40, 8 + 30 * bit : 34 + 30 * bit] = 235 if index >> bit & 1 else 16
    return picture


def numbered_mask(index: int) -> np.ndarray:
    """uint8 (240, 320): the same number as a mask, in a row of blocks at the bottom."""
    mask = np.zeros(PLAIN_HW, np.uint8)
    for bit in range(BITS):
        mask[200:232, 8 + 30 * bit : 34 + 30 * bit] = index >> bit & 1
    return mask
