"""Random scenes of the synthetic data set: shapes, their paths over time, colours, background. Nothing is drawn here.

Values are uniform doubles of PCG64, combined by + - * / only, because the last bit of numpy's and the C library's sine
differs between processors and systems. The definition is frozen: the bundled model is trained on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

NAMES = ("disc", "square", "triangle", "star", "cross", "ring", "crescent", "heart")
TEXTURES = ("plain", "stripes", "checks", "dots", "ripples")
BACKDROPS = ("clouds", "stripes", "tiles", "pebbles")
SIZE_HW = (192, 320)
LENGTHS = (12, 36)
INSTANCES = (2, 5)
MARGIN = 40
"""Largest drift of the background, pixels."""

# Radius of the largest disc inside a shape of radius 1, for the shapes that can hide another.
_SOLID = {"disc": 1.0, "square": 0.82, "triangle": 0.5, "heart": 0.55}

T = TypeVar("T")


class Rng:
    """A random generator with the same numbers on every machine."""

    def __init__(self, *key: int):
        self._generator = np.random.Generator(np.random.PCG64(list(key)))

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int((high - low + 1) * float(self._generator.random()))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self._generator.random()) < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.integer(0, len(items) - 1)]

    def grid(self, *shape: int) -> np.ndarray:
        """float32 numbers in [0, 1]."""
        return self._generator.random(shape).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Shape:
    """One object of a scene and its pose in T frames.

    name: class. centres: (T, 2), x and y in pixels. radii: (T,), pixels. turns: (T,), clockwise, in full turns.
    stretch: square root of width over height. colours: (2, 3), RGB in [0, 1]. texture: one of TEXTURES. pitch: its
    periods per radius.
    """

    name: str
    centres: np.ndarray
    radii: np.ndarray
    turns: np.ndarray
    stretch: float
    colours: np.ndarray
    texture: str
    pitch: float


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A background.

    kind: one of BACKDROPS. palette: (3, 3), RGB in [0, 1]. turn: rotation of the pattern in full turns. warp: amplitude
    of its waves. strength: of the pattern, 0 to 1. key: seed of its noise. drift: (T, 2), x and y in pixels. light:
    (T,), x of a soft light, in widths of the frame.
    """

    kind: str
    palette: np.ndarray
    turn: float
    warp: float
    strength: float
    key: int
    drift: np.ndarray
    light: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """The shapes of a video, from back to front, and their background."""

    shapes: tuple[Shape, ...]
    backdrop: Backdrop

    @property
    def length(self) -> int:
        """Number of frames T."""
        return len(self.backdrop.light)


def random_scene(seed: int, index: int, attempt: int) -> Scene:
    """A scene of 12 to 36 frames and 2 to 5 shapes.

    index: of the video; with an even index two shapes cross, with every third one shape leaves and returns. attempt:
    another scene for the same video; whether the crossing and the return are visible shows only in the pixels.
    """
    rng = Rng(seed, index, attempt)
    length, count = rng.integer(*LENGTHS), rng.integer(*INSTANCES)
    hue = rng.uniform(0, 1)
    shapes = _crossing_shapes(rng, length) if index % 2 == 0 else []
    if index % 3 == 0:
        shapes.append(_random_shape(rng, _returning_path(rng, length)))
    while len(shapes) < count:
        shapes.append(_random_shape(rng, _wandering_path(rng, length)))
    for i, shape in enumerate(shapes):  # in 85 % of cases, colours that contrast with the background's
        away = rng.uniform(0.2, 0.8) if rng.chance(0.85) else rng.uniform(-0.08, 0.08)
        base = rgb(hue + away, rng.uniform(0.55, 0.95), rng.uniform(0.75, 1.0))
        shapes[i] = replace(shape, colours=_texture_colours(rng, base))
    if index % 2 == 0:
        back, front, *others = shapes
        if back.name == front.name:  # similar colours make the two hard to tell apart
            back = replace(back, colours=_texture_colours(rng, front.colours[0]), texture=front.texture)
        shapes = [*others, back, front]
    return Scene(tuple(shapes), _random_backdrop(rng, hue, length))


# --- paths


def curve(times: Sequence[float], values: Sequence[Sequence[float]], length: int) -> np.ndarray:
    """(length, D): a smooth curve at frames 0, 1, … through `values` (K, D) at increasing `times` (cubic Hermite)."""
    at, points = np.array(times, float), np.array(values, float)
    slopes = np.empty_like(points)
    slopes[1:-1] = (points[2:] - points[:-2]) / (at[2:] - at[:-2])[:, None]
    slopes[0] = (points[1] - points[0]) / (at[1] - at[0])
    slopes[-1] = (points[-1] - points[-2]) / (at[-1] - at[-2])
    frames = np.arange(length)
    k = np.clip(np.searchsorted(at, frames, side="right") - 1, 0, len(at) - 2)
    span = (at[k + 1] - at[k])[:, None]
    u = (frames[:, None] - at[k][:, None]) / span
    straight = points[k] + (points[k + 1] - points[k]) * (u * u * (3 - 2 * u))
    return straight + span * u * (1 - u) * (slopes[k] * (1 - u) - slopes[k + 1] * u)


def _smooth_values(rng: Rng, low: float, high: float, length: int, middle: int, fixed: float | None) -> np.ndarray:
    """(length,): values that change smoothly between low and high; `fixed`, if given, at frame `middle`."""
    ends = [rng.uniform(low, high) for _ in range(3)]
    values = [[ends[0]], [ends[1] if fixed is None else fixed], [ends[2]]]
    return curve([0, middle, length - 1], values, length)[:, 0]


def _wandering_path(rng: Rng, length: int) -> np.ndarray:
    """(length, 2): through 2 to 4 random points, up to 8 pixels a frame."""
    height, width = SIZE_HW
    knots = rng.integer(2, 4)
    step = (length - 1) / (knots - 1)
    reach = min(8.0 * step, 130.0)
    points = [(rng.uniform(0.1, 0.9) * width, rng.uniform(0.12, 0.88) * height)]
    for _ in range(knots - 1):
        x = points[-1][0] + rng.uniform(-reach, reach)
        y = points[-1][1] + rng.uniform(-reach, reach) * 0.6
        points.append((min(max(x, -8.0), width + 8.0), min(max(y, -4.0), height + 4.0)))
    return curve([k * step for k in range(knots)], points, length)


def _returning_path(rng: Rng, length: int) -> np.ndarray:
    """(length, 2): inside, then beyond the left or right edge, then inside at another height."""
    height, width = SIZE_HW
    xs = [rng.uniform(30, 95), rng.uniform(-75, -60), rng.uniform(-75, -60), rng.uniform(30, 95)]
    if rng.chance(0.5):
        xs = [width - x for x in xs]
    first, second = rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * height
    ys = [first, 0.7 * first + 0.3 * second, second, second]
    last = length - 1
    times = [0, last * rng.uniform(0.32, 0.42), last * rng.uniform(0.55, 0.68), last]
    return curve(times, list(zip(xs, ys, strict=True)), length)


def _crossing_shapes(rng: Rng, length: int) -> list[Shape]:
    """Two shapes, of which the second hides the first in one frame."""
    height, width = SIZE_HW
    front_name = rng.choice(tuple(_SOLID))
    back_name = front_name if rng.chance(0.4) else rng.choice(NAMES)
    solid = _SOLID[front_name]
    front_radius = rng.uniform(32, 40) if solid > 0.7 else rng.uniform(38, 46)
    back_radius = front_radius * solid * rng.uniform(0.8, 0.95)
    meet = (rng.uniform(0.3, 0.7) * width, rng.uniform(0.35, 0.65) * height)
    when = rng.integer(length * 2 // 5, length * 3 // 5)
    side = 1 if rng.chance(0.5) else -1
    shapes = []
    before, after = min(9.0 * when, 120.0), min(9.0 * (length - 1 - when), 120.0)
    for name, radius, way in ((back_name, back_radius, side), (front_name, front_radius, -side)):
        # From one side through the meeting point to the other side.
        start = (meet[0] - way * before * rng.uniform(0.7, 1.0), meet[1] + rng.uniform(-45, 45))
        end = (meet[0] + way * after * rng.uniform(0.7, 1.0), meet[1] + rng.uniform(-45, 45))
        path = curve([0, when, length - 1], [start, meet, end], length)
        shapes.append(_random_shape(rng, path, name, radius * _smooth_values(rng, 0.8, 1.15, length, when, 1.0)))
    return [shapes[0], replace(shapes[1], stretch=1.0)]


# --- appearance


def _random_shape(rng: Rng, path: np.ndarray, name: str | None = None, radii: np.ndarray | None = None) -> Shape:
    """A shape without colours on a path (T, 2)."""
    length = len(path)
    if radii is None:
        radii = rng.uniform(15, 36) * _smooth_values(rng, 0.75, 1.3, length, length // 2, None)
    return Shape(
        name=name or rng.choice(NAMES),
        centres=path,
        radii=radii,
        turns=rng.uniform(0, 1) + rng.uniform(-0.025, 0.025) * np.arange(length),
        stretch=rng.uniform(0.92, 1.09),
        colours=np.zeros((2, 3)),
        texture=rng.choice(TEXTURES),
        pitch=rng.uniform(1.1, 2.0),
    )


def _texture_colours(rng: Rng, base: np.ndarray) -> np.ndarray:
    """(2, 3): a colour, and a darker or lighter one for the texture."""
    if rng.chance(0.5):
        return np.stack([base, base * rng.uniform(0.4, 0.7)])
    return np.stack([base, 1 - (1 - base) * rng.uniform(0.25, 0.55)])


def _random_backdrop(rng: Rng, hue: float, length: int) -> Backdrop:
    """A background of this hue for `length` frames."""
    dark = rng.uniform(0.22, 0.5)
    palette = [
        rgb(hue, rng.uniform(0.25, 0.6), dark),
        rgb(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.5), dark + rng.uniform(0.15, 0.3)),
        rgb(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.45), dark + rng.uniform(0.25, 0.42)),
    ]
    limit = MARGIN - 2
    ends = [[rng.uniform(-limit, limit), rng.uniform(-limit, limit)] for _ in range(2)]
    return Backdrop(
        kind=rng.choice(BACKDROPS),
        palette=np.stack(palette),
        turn=rng.uniform(0, 1),
        warp=rng.uniform(0.3, 2.2),
        strength=rng.uniform(0.35, 0.8),
        key=rng.integer(0, 2**31),
        drift=curve([0, length - 1], ends, length),
        light=curve([0, length - 1], [[rng.uniform(-0.2, 1.2)], [rng.uniform(-0.2, 1.2)]], length)[:, 0],
    )


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,): red, green and blue in [0, 1]. hue: full turns. saturation, value: 0 to 1."""
    wheel = hue + np.array([0.0, 2 / 3, 1 / 3])
    ramp = np.clip(np.abs((wheel - np.floor(wheel)) * 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - ramp))
