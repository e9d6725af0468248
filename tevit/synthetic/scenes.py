"""Random scenes of the synthetic data set, and their rendering: anti-aliased frames, the visible object of each pixel.

Values are uniform doubles of PCG64, combined by + - * / only, because the last bit of numpy's and the C library's sine
differs between processors and systems; rendering is + - * / and square roots in float32, so that the bytes are the same
on every machine. The definition is frozen: the bundled model is trained on it.
"""

from collections.abc import Iterator, Sequence
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


# --- rendering


_BORDER = 8.0  # pixels that a patch extends beyond the outline: width of the shadow's edge
_SHADOW = (4, 3)  # down and right, pixels


@dataclass(frozen=True, eq=False)
class Patch:
    """The rectangle of a frame around a shape.

    top, left: its first pixel. x, y: float32 (h, w), pixel coordinates relative to the unrotated shape, in radii.
    distance: float32 (h, w), approximate pixels to the outline; 0 and below is inside.
    """

    top: int
    left: int
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """bool (h, w): pixels whose centres the shape covers."""
        return self.distance <= 0

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the patch in the frame."""
        height, width = self.distance.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def patches(scene: Scene) -> list[list[Patch | None]]:
    """For each frame, the patch of each shape, from back to front; None where it is outside the frame."""
    patches: list[list[Patch | None]] = [[None] * len(scene.shapes) for _ in range(scene.length)]
    for t, row in enumerate(patches):
        for k, shape in enumerate(scene.shapes):
            cx, cy, radius = float(shape.centres[t, 0]), float(shape.centres[t, 1]), float(shape.radii[t])
            reach = radius * 1.1 + _BORDER
            top, left = max(int(np.floor(cy - reach)), 0), max(int(np.floor(cx - reach)), 0)
            bottom, right = min(int(cy + reach) + 1, SIZE_HW[0]), min(int(cx + reach) + 1, SIZE_HW[1])
            if top < bottom and left < right:
                dy, dx = _pixel_centres(top, bottom)[:, None] - cy, _pixel_centres(left, right)[None] - cx
                cos, sin = cos_sin(float(shape.turns[t]))
                x = (dx * cos + dy * sin) / (radius * shape.stretch)
                y = (dy * cos - dx * sin) / (radius / shape.stretch)
                row[k] = Patch(top, left, x, y, _signed_distance(shape.name, x, y) * radius)
    return patches


def visible_shapes(frame: list[Patch | None]) -> np.ndarray:
    """int8 (H, W): index of the shape visible at each pixel of a frame, -1 for the background."""
    visible = np.full(SIZE_HW, -1, np.int8)
    for number, patch in enumerate(frame):
        if patch is not None:
            visible[patch.window][patch.inside] = number
    return visible


def frames(scene: Scene, outlines: list[list[Patch | None]]) -> Iterator[np.ndarray]:
    """Render the frames, uint8 (H, W, 3) RGB. outlines: of `patches`."""
    canvas = _canvas(scene.backdrop)
    noise = Rng(scene.backdrop.key, 1)
    for t in range(scene.length):
        picture = _background(canvas, scene.backdrop, t)
        for shape, patch in zip(scene.shapes, outlines[t], strict=True):
            if patch is not None:
                _draw(picture, shape, patch, t)
        picture += (noise.grid(*SIZE_HW, 1) - 0.5) * 0.035
        yield np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def cos_sin(turns: float) -> tuple[float, float]:
    """Cosine and sine of an angle in full turns, by polynomials, to 1e-6."""
    quarter = int(np.floor(turns * 4 + 0.5))
    x = (turns - quarter / 4) * 6.283185307179586
    q = x * x
    cos = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56)))
    sin = x * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72))))
    return [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)][quarter % 4]


# --- outlines


def _pixel_centres(start: int, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.float32) + np.float32(0.5)


def _signed_distance(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Approximate distance to the outline of a shape of radius 1, negative inside: float32 (h, w)."""
    ax, ay = np.abs(x), np.abs(y)
    if name == "square":
        return np.maximum(ax, ay) - 0.82
    if name == "triangle":
        return np.maximum(y, 0.8660254 * ax - 0.5 * y) - 0.5
    if name == "star":  # inside at least four of a pentagram's five edges: the second largest of five distances
        first = second = np.full_like(ax, -9.0)
        for nx, ny in ((0.0, 1.0), (0.9510565, 0.3090170), (-0.9510565, 0.3090170), (0.5877853, -0.8090170)):
            edge = nx * ax + ny * y
            first, second = np.maximum(first, edge), np.maximum(second, np.minimum(first, edge))
        edge = -0.5877853 * ax - 0.8090170 * y
        second = np.maximum(second, np.minimum(first, edge))
        return second - 0.36
    if name == "cross":
        return np.minimum(np.maximum(ax - 0.95, ay - 0.33), np.maximum(ax - 0.33, ay - 0.95))
    if name == "heart":  # a square on its corner and two discs on its upper edges
        square = np.maximum(ax + y - 0.86, np.maximum(ax - y - 0.7, -ax - y - 0.7)) * 0.7071068
        lobe_x, lobe_y = ax - 0.39, y + 0.307
        return np.minimum(square, np.sqrt(lobe_x * lobe_x + lobe_y * lobe_y) - 0.55)
    distance = np.sqrt(x * x + y * y)
    if name == "ring":
        return np.abs(distance - 0.72) - 0.27
    if name == "crescent":
        shifted = x - 0.5
        return np.maximum(distance - 1, 0.72 - np.sqrt(shifted * shifted + y * y))
    return distance - 1


# --- appearance


def _draw(picture: np.ndarray, shape: Shape, patch: Patch, t: int) -> None:
    """Draw a shape in frame t into `picture`: shadow, two-coloured texture, light from above left, rim."""
    height, width = patch.distance.shape
    down, right = _SHADOW
    shadow = picture[patch.top + down :, patch.left + right :][:height, :width]
    darkness = _smooth_step(0.5 - patch.distance[: shadow.shape[0], : shadow.shape[1]] / (2 * _BORDER))
    shadow *= 1 - 0.38 * darkness[..., None]
    first, second = (colour.astype(np.float32) for colour in shape.colours)
    blend = _texture(shape, patch)[..., None]
    radius = float(shape.radii[t])
    y = (_pixel_centres(patch.top, patch.top + height) - float(shape.centres[t, 1])) / radius
    x = (_pixel_centres(patch.left, patch.left + width) - float(shape.centres[t, 0])) / radius
    light = 0.95 - 0.13 * (y[:, None] + x[None])
    rim = 0.5 + 0.5 * np.clip(-patch.distance - 0.8, 0, 1)
    colour = (first + (second - first) * blend) * (light * rim)[..., None]
    area = picture[patch.window]
    area += (colour - area) * np.clip(0.5 - patch.distance, 0, 1)[..., None]


def _texture(shape: Shape, patch: Patch) -> np.ndarray:
    """Blend between a shape's two colours, float32 (h, w) in [0, 1]."""
    x, y = patch.x * shape.pitch, patch.y * shape.pitch
    if shape.texture == "stripes":
        return _smooth_step((_wave(x) - 0.5) * 2 + 0.5)
    if shape.texture == "checks":
        return _smooth_step((_wave(x) - 0.5) * (_wave(y) - 0.5) * 8 + 0.5)
    if shape.texture == "dots":
        a, b = _wave(x) - 1, _wave(y) - 1
        return _smooth_step(1.4 - 4 * (a * a + b * b))
    if shape.texture == "ripples":
        return _smooth_step((_wave(np.sqrt(x * x + y * y)) - 0.5) * 2 + 0.5)
    return np.clip(0.5 + 0.5 * patch.y, 0, 1)


def _background(canvas: np.ndarray, backdrop: Backdrop, t: int) -> np.ndarray:
    """float32 (H, W, 3): the canvas, shifted with subpixel precision, under a soft light."""
    x, y = MARGIN + float(backdrop.drift[t, 0]), MARGIN + float(backdrop.drift[t, 1])
    left, top = int(x), int(y)
    height, width = SIZE_HW
    part = canvas[top : top + height + 1, left : left + width + 1]
    part = part[:, :-1] + (part[:, 1:] - part[:, :-1]) * (x - left)
    part = part[:-1] + (part[1:] - part[:-1]) * (y - top)
    away = np.abs(_pixel_centres(0, width) / width - float(backdrop.light[t]))
    return part * (0.84 + 0.28 * _smooth_step(1 - away))[None, :, None]


def _canvas(backdrop: Backdrop) -> np.ndarray:
    """The background without light, float32 (H + 2 margin, W + 2 margin, 3), RGB in [0, 1]."""
    rng = Rng(backdrop.key, 0)
    height, width = SIZE_HW[0] + 2 * MARGIN, SIZE_HW[1] + 2 * MARGIN
    cloud, other = _noise(rng, height, width, 72), _noise(rng, height, width, 40)
    dark, middle, bright = (colour.astype(np.float32) for colour in backdrop.palette)
    ground = dark + (middle - dark) * _smooth_step(cloud * 2 - 0.5)[..., None]
    pattern = _pattern(backdrop, cloud, other)[..., None]
    return ground + (bright - ground) * (pattern * backdrop.strength)


def _pattern(backdrop: Backdrop, cloud: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Blend towards the brightest colour, float32 (h, w) in [0, 1]. cloud, other: noise (h, w)."""
    height, width = cloud.shape
    y, x = _pixel_centres(0, height)[:, None], _pixel_centres(0, width)[None]
    cos, sin = cos_sin(backdrop.turn)
    along, across = (x * cos + y * sin) / 34, (y * cos - x * sin) / 34
    if backdrop.kind == "stripes":
        return _wave(along + backdrop.warp * cloud)
    if backdrop.kind == "tiles":
        return _smooth_step((_wave(along) - 0.5) * (_wave(across) - 0.5) * 12 + 0.5)
    if backdrop.kind == "pebbles":
        a = _wave(along + 0.4 * backdrop.warp * cloud) - 1
        b = _wave(across + 0.4 * backdrop.warp * other) - 1
        return _smooth_step(1.4 - 2.5 * (a * a + b * b))
    return _smooth_step(other * 2.4 - 0.7)


def _noise(rng: Rng, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise of three scales, the largest `cell` pixels: float32 (height, width) in [0, 1]."""
    total = np.zeros((height, width), np.float32)
    for weight, pitch in ((0.6, cell), (0.27, cell // 3), (0.13, cell // 8)):
        lattice = rng.grid(height // pitch + 2, width // pitch + 2)
        row, v = _lattice_positions(height, pitch)
        column, u = _lattice_positions(width, pitch)
        lines = lattice[:, column] + (lattice[:, column + 1] - lattice[:, column]) * u
        total += weight * (lines[row] + (lines[row + 1] - lines[row]) * v[:, None])
    return total


def _lattice_positions(count: int, pitch: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the lattice cell int (count,), and the interpolation weight of the next, float32 (count,)."""
    place = np.arange(count, dtype=np.float32) / np.float32(pitch)
    part = place - np.floor(place)
    return np.floor(place).astype(int), _smooth_step(part)


def _wave(x: np.ndarray) -> np.ndarray:
    """A smooth wave of period 1 between 0 and 1."""
    return _smooth_step(2 * np.abs(x - np.floor(x) - np.float32(0.5)))


def _smooth_step(x: np.ndarray) -> np.ndarray:
    """A smooth step from 0 to 1."""
    part = np.clip(x, 0, 1)
    return part * part * (3 - 2 * part)
