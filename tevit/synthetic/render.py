"""Rendering of synthetic scenes: anti-aliased frames, and the visible object of each pixel.

The arithmetic is + - * / and square roots in float32, so that the bytes are the same on every machine (see scenes.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tevit.synthetic.scenes import MARGIN, SIZE_HW, Backdrop, Rng, Scene, Shape

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
