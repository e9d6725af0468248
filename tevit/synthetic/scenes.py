"""What happens in a synthetic video: which shapes, where, when, in which colours. No pixel is drawn here.

Only + - * / touch the numbers, drawn with PCG64's uniform doubles: numpy's and the C library's sine differ between
processors and systems in the last bit. The definition is frozen: the bundled model is trained on it.
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
"""How far the background drifts at most, pixels."""

# Radius of the disc that a shape of radius 1 holds, for those solid enough to hide another.
_SOLID = {"disc": 1.0, "square": 0.82, "triangle": 0.5, "heart": 0.55}

T = TypeVar("T")


class Rng:
    """Draws that are the same everywhere."""

    def __init__(self, *key: int):
        self._generator = np.random.Generator(np.random.PCG64(list(key)))

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both possible."""
        return low + int((high - low + 1) * float(self._generator.random()))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self._generator.random()) < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.whole(0, len(items) - 1)]

    def grid(self, *shape: int) -> np.ndarray:
        """float32 numbers in [0, 1]."""
        return self._generator.random(shape).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Shape:
    """One object of a scene, by its pose at T frames.

    name: its class. centres: (T, 2), x and y in pixels. radii: (T,), pixels. turns: (T,), full turns, clockwise.
    stretch: its square is width to height. colours: (2, 3), RGB in [0, 1]. texture: one of TEXTURES, repeated `pitch`
    times a radius.
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
    """A background. kind: one of BACKDROPS. palette: (3, 3), RGB in [0, 1]. turn: of its pattern, in full turns.
    warp: how wavy the pattern is. strength: of the pattern, 0 to 1. key: seeds its noise. drift: (T, 2), x and y in
    pixels. light: (T,), where a soft light falls, in widths of the picture.
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
    """What a video shows: shapes from the back to the front, and what is behind them."""

    shapes: tuple[Shape, ...]
    backdrop: Backdrop

    @property
    def length(self) -> int:
        """Number of frames T."""
        return len(self.backdrop.light)


def plan(seed: int, index: int, attempt: int) -> Scene:
    """Draw a scene of 12 to 36 frames and 2 to 5 shapes.

    Every video with an even index gets two shapes that cross, every third one that leaves and returns; whether these
    happen as planned shows only in the pixels, hence `attempt`.
    """
    rng = Rng(seed, index, attempt)
    length, count = rng.whole(*LENGTHS), rng.whole(*INSTANCES)
    hue = rng.uniform(0, 1)
    shapes = [_coloured(rng, shape, hue) for shape in _cast(rng, index, length, count)]
    if index % 2 == 0:
        shapes = [*shapes[2:], _alike(rng, *shapes[:2]), shapes[1]]
    return Scene(tuple(shapes), _backdrop(rng, hue, length))


def _cast(rng: Rng, index: int, length: int, count: int) -> list[Shape]:
    shapes = _crossing(rng, length) if index % 2 == 0 else []
    if index % 3 == 0:
        shapes.append(_shape(rng, _returning_path(rng, length)))
    while len(shapes) < count:
        shapes.append(_shape(rng, _wandering_path(rng, length)))
    return shapes


def _alike(rng: Rng, back: Shape, front: Shape) -> Shape:
    """Two that cross and are of one class are made nearly of one colour: they are hard to keep apart."""
    if back.name != front.name:
        return back
    return replace(back, colours=_shaded(rng, front.colours[0]), texture=front.texture)


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


def _through_time(rng: Rng, low: float, high: float, length: int, middle: int, fixed: float | None) -> np.ndarray:
    """(length,): a number that changes smoothly between low and high; `fixed` at frame `middle` if given."""
    ends = [rng.uniform(low, high) for _ in range(3)]
    values = [[ends[0]], [ends[1] if fixed is None else fixed], [ends[2]]]
    return curve([0, middle, length - 1], values, length)[:, 0]


def _wandering_path(rng: Rng, length: int) -> np.ndarray:
    height, width = SIZE_HW
    knots = rng.whole(2, 4)
    step = (length - 1) / (knots - 1)
    reach = min(8.0 * step, 130.0)
    points = [(rng.uniform(0.1, 0.9) * width, rng.uniform(0.12, 0.88) * height)]
    for _ in range(knots - 1):
        x = points[-1][0] + rng.uniform(-reach, reach)
        y = points[-1][1] + rng.uniform(-reach, reach) * 0.6
        points.append((min(max(x, -8.0), width + 8.0), min(max(y, -4.0), height + 4.0)))
    return curve([k * step for k in range(knots)], points, length)


def _returning_path(rng: Rng, length: int) -> np.ndarray:
    """Inside at first, beyond the left or right edge for a while, back at another height."""
    height, width = SIZE_HW
    xs = [rng.uniform(30, 95), rng.uniform(-75, -60), rng.uniform(-75, -60), rng.uniform(30, 95)]
    if rng.chance(0.5):
        xs = [width - x for x in xs]
    first, second = rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * height
    ys = [first, 0.7 * first + 0.3 * second, second, second]
    last = length - 1
    times = [0, last * rng.uniform(0.32, 0.42), last * rng.uniform(0.55, 0.68), last]
    return curve(times, list(zip(xs, ys, strict=True)), length)


def _crossing(rng: Rng, length: int) -> list[Shape]:
    """Two shapes that meet at one point at one frame, where the second hides the first."""
    height, width = SIZE_HW
    front_name = rng.choice(tuple(_SOLID))
    back_name = front_name if rng.chance(0.4) else rng.choice(NAMES)
    solid = _SOLID[front_name]
    front_radius = rng.uniform(32, 40) if solid > 0.7 else rng.uniform(38, 46)
    back_radius = front_radius * solid * rng.uniform(0.8, 0.95)
    meet = (rng.uniform(0.3, 0.7) * width, rng.uniform(0.35, 0.65) * height)
    when = rng.whole(length * 2 // 5, length * 3 // 5)
    side = 1 if rng.chance(0.5) else -1
    shapes = []
    for name, radius, way in ((back_name, back_radius, side), (front_name, front_radius, -side)):
        path = _path_through(rng, meet, when, length, way)
        shapes.append(_shape(rng, path, name, radius * _through_time(rng, 0.8, 1.15, length, when, 1.0)))
    return [shapes[0], replace(shapes[1], stretch=1.0)]


def _path_through(rng: Rng, meet: tuple[float, float], when: int, length: int, side: int) -> np.ndarray:
    """From one side through `meet` at frame `when` to the other side."""
    before, after = min(9.0 * when, 120.0), min(9.0 * (length - 1 - when), 120.0)
    start = (meet[0] - side * before * rng.uniform(0.7, 1.0), meet[1] + rng.uniform(-45, 45))
    end = (meet[0] + side * after * rng.uniform(0.7, 1.0), meet[1] + rng.uniform(-45, 45))
    return curve([0, when, length - 1], [start, meet, end], length)


# --- looks


def _shape(rng: Rng, path: np.ndarray, name: str | None = None, radii: np.ndarray | None = None) -> Shape:
    length = len(path)
    if radii is None:
        radii = rng.uniform(15, 36) * _through_time(rng, 0.75, 1.3, length, length // 2, None)
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


def _coloured(rng: Rng, shape: Shape, hue: float) -> Shape:
    """The shape in colours that stand out from a background of this hue, most of the time."""
    away = rng.uniform(0.2, 0.8) if rng.chance(0.85) else rng.uniform(-0.08, 0.08)
    base = rgb(hue + away, rng.uniform(0.55, 0.95), rng.uniform(0.75, 1.0))
    return replace(shape, colours=_shaded(rng, base))


def _shaded(rng: Rng, base: np.ndarray) -> np.ndarray:
    """(2, 3): a colour, and a darker or lighter one to draw a texture with."""
    if rng.chance(0.5):
        return np.stack([base, base * rng.uniform(0.4, 0.7)])
    return np.stack([base, 1 - (1 - base) * rng.uniform(0.25, 0.55)])


def _backdrop(rng: Rng, hue: float, length: int) -> Backdrop:
    dark = rng.uniform(0.22, 0.5)
    palette = [
        rgb(hue, rng.uniform(0.25, 0.6), dark),
        rgb(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.5), dark + rng.uniform(0.15, 0.3)),
        rgb(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.45), dark + rng.uniform(0.25, 0.42)),
    ]
    far = MARGIN - 2
    places = [[rng.uniform(-far, far), rng.uniform(-far, far)] for _ in range(2)]
    return Backdrop(
        kind=rng.choice(BACKDROPS),
        palette=np.stack(palette),
        turn=rng.uniform(0, 1),
        warp=rng.uniform(0.3, 2.2),
        strength=rng.uniform(0.35, 0.8),
        key=rng.whole(0, 2**31),
        drift=curve([0, length - 1], places, length),
        light=curve([0, length - 1], [[rng.uniform(-0.2, 1.2)], [rng.uniform(-0.2, 1.2)]], length)[:, 0],
    )


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,): red, green and blue in [0, 1]; hue in full turns."""
    wheel = hue + np.array([0.0, 2 / 3, 1 / 3])
    ramp = np.clip(np.abs((wheel - np.floor(wheel)) * 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - ramp))
