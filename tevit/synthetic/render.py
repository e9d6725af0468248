"""Painting a synthetic scene: anti-aliased pixels, and which object each pixel shows.

The arithmetic is + - * / and square roots in float32, so that every machine gets the same bytes (see scenes.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tevit.synthetic.scenes import MARGIN, SIZE_HW, Backdrop, Rng, Scene, Shape

_BORDER = 8.0  # pixels beyond an outline that a patch still covers: the shadow's softness
_SHADOW = (4, 3)  # down and right, pixels


@dataclass(frozen=True, eq=False)
class Patch:
    """The part of the picture around a shape.

    top, left: its first pixel. x, y: float32 (h, w), place in the shape's own frame, in radii. distance: float32
    (h, w), pixels to the outline, about; 0 and below is inside.
    """

    top: int
    left: int
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """bool (h, w): the pixels whose centres the shape covers."""
        return self.distance <= 0

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the patch lies in the picture."""
        height, width = self.distance.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def patches(scene: Scene) -> list[list[Patch | None]]:
    """Per frame, one patch a shape, from the back to the front; None where it is wholly outside the picture."""
    return [[_patch(shape, t) for shape in scene.shapes] for t in range(scene.length)]


def owners(frame: list[Patch | None]) -> np.ndarray:
    """int8 (H, W): the shape that each pixel of a frame shows, -1 for the background."""
    owner = np.full(SIZE_HW, -1, np.int8)
    for number, patch in enumerate(frame):
        if patch is not None:
            owner[patch.window][patch.inside] = number
    return owner


def frames(scene: Scene, outlines: list[list[Patch | None]]) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3) RGB, one frame after the other."""
    canvas = _canvas(scene.backdrop)
    noise = Rng(scene.backdrop.key, 1)
    for t in range(scene.length):
        picture = _background(canvas, scene.backdrop, t)
        for shape, patch in zip(scene.shapes, outlines[t], strict=True):
            if patch is not None:
                _cast_shadow(picture, patch)
                _draw(picture, shape, patch, t)
        picture += (noise.grid(*SIZE_HW, 1) - 0.5) * 0.035
        yield np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def cos_sin(turns: float) -> tuple[float, float]:
    """Cosine and sine of full turns by polynomials, to 1e-6."""
    quarter = int(np.floor(turns * 4 + 0.5))
    x = (turns - quarter / 4) * 6.283185307179586
    q = x * x
    cos = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56)))
    sin = x * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72))))
    return [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)][quarter % 4]


# --- outlines


def _patch(shape: Shape, t: int) -> Patch | None:
    cx, cy, radius = float(shape.centres[t, 0]), float(shape.centres[t, 1]), float(shape.radii[t])
    reach = radius * 1.1 + _BORDER
    top, left = max(int(np.floor(cy - reach)), 0), max(int(np.floor(cx - reach)), 0)
    bottom, right = min(int(cy + reach) + 1, SIZE_HW[0]), min(int(cx + reach) + 1, SIZE_HW[1])
    if top >= bottom or left >= right:
        return None
    dy, dx = _pixel_centres(top, bottom)[:, None] - cy, _pixel_centres(left, right)[None] - cx
    cos, sin = cos_sin(float(shape.turns[t]))
    x = (dx * cos + dy * sin) / (radius * shape.stretch)
    y = (dy * cos - dx * sin) / (radius / shape.stretch)
    return Patch(top, left, x, y, _outline(shape.name, x, y) * radius)


def _pixel_centres(start: int, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.float32) + np.float32(0.5)


def _outline(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """About the distance to the outline of a shape of radius 1, negative inside."""
    ax, ay = np.abs(x), np.abs(y)
    if name == "square":
        return np.maximum(ax, ay) - 0.82
    if name == "triangle":
        return np.maximum(y, 0.8660254 * ax - 0.5 * y) - 0.5
    if name == "star":
        return _star(ax, y)
    if name == "cross":
        return np.minimum(np.maximum(ax - 0.95, ay - 0.33), np.maximum(ax - 0.33, ay - 0.95))
    if name == "heart":
        return _heart(ax, y)
    distance = np.sqrt(x * x + y * y)
    if name == "ring":
        return np.abs(distance - 0.72) - 0.27
    if name == "crescent":
        shifted = x - 0.5
        return np.maximum(distance - 1, 0.72 - np.sqrt(shifted * shifted + y * y))
    return distance - 1


def _star(ax: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inside at least four of a pentagram's five edges: the second largest of five distances."""
    first = second = np.full_like(ax, -9.0)
    for nx, ny in ((0.0, 1.0), (0.9510565, 0.3090170), (-0.9510565, 0.3090170), (0.5877853, -0.8090170)):
        edge = nx * ax + ny * y
        first, second = np.maximum(first, edge), np.maximum(second, np.minimum(first, edge))
    edge = -0.5877853 * ax - 0.8090170 * y
    second = np.maximum(second, np.minimum(first, edge))
    return second - 0.36


def _heart(ax: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square on its corner and two discs on its upper edges."""
    square = np.maximum(ax + y - 0.86, np.maximum(ax - y - 0.7, -ax - y - 0.7)) * 0.7071068
    lobe_x, lobe_y = ax - 0.39, y + 0.307
    return np.minimum(square, np.sqrt(lobe_x * lobe_x + lobe_y * lobe_y) - 0.55)


# --- colour


def _draw(picture: np.ndarray, shape: Shape, patch: Patch, t: int) -> None:
    """Texture between the two colours, light from above left, a dark rim, edges mixed by how much they cover."""
    first, second = (colour.astype(np.float32) for colour in shape.colours)
    share = _texture(shape, patch)[..., None]
    top, left = patch.top, patch.left
    height, width = patch.distance.shape
    radius = float(shape.radii[t])
    down = (_pixel_centres(top, top + height) - float(shape.centres[t, 1])) / radius
    right = (_pixel_centres(left, left + width) - float(shape.centres[t, 0])) / radius
    light = 0.95 - 0.13 * (down[:, None] + right[None])
    rim = 0.5 + 0.5 * np.clip(-patch.distance - 0.8, 0, 1)
    colour = (first + (second - first) * share) * (light * rim)[..., None]
    area = picture[patch.window]
    area += (colour - area) * np.clip(0.5 - patch.distance, 0, 1)[..., None]


def _texture(shape: Shape, patch: Patch) -> np.ndarray:
    """float32 (h, w) in [0, 1]."""
    x, y = patch.x * shape.pitch, patch.y * shape.pitch
    if shape.texture == "stripes":
        return _edge((_wave(x) - 0.5) * 2 + 0.5)
    if shape.texture == "checks":
        return _edge((_wave(x) - 0.5) * (_wave(y) - 0.5) * 8 + 0.5)
    if shape.texture == "dots":
        a, b = _wave(x) - 1, _wave(y) - 1
        return _edge(1.4 - 4 * (a * a + b * b))
    if shape.texture == "ripples":
        return _edge((_wave(np.sqrt(x * x + y * y)) - 0.5) * 2 + 0.5)
    return np.clip(0.5 + 0.5 * patch.y, 0, 1)


def _cast_shadow(picture: np.ndarray, patch: Patch) -> None:
    down, right = _SHADOW
    area = picture[patch.top + down :, patch.left + right :][: patch.distance.shape[0], : patch.distance.shape[1]]
    dark = _edge(0.5 - patch.distance[: area.shape[0], : area.shape[1]] / (2 * _BORDER))
    area *= 1 - 0.38 * dark[..., None]


def _background(canvas: np.ndarray, backdrop: Backdrop, t: int) -> np.ndarray:
    """float32 (H, W, 3): the canvas shifted by parts of a pixel, under a soft light."""
    x, y = MARGIN + float(backdrop.drift[t, 0]), MARGIN + float(backdrop.drift[t, 1])
    left, top = int(x), int(y)
    height, width = SIZE_HW
    part = canvas[top : top + height + 1, left : left + width + 1]
    part = part[:, :-1] + (part[:, 1:] - part[:, :-1]) * (x - left)
    part = part[:-1] + (part[1:] - part[:-1]) * (y - top)
    away = np.abs(_pixel_centres(0, width) / width - float(backdrop.light[t]))
    return part * (0.84 + 0.28 * _edge(1 - away))[None, :, None]


def _canvas(backdrop: Backdrop) -> np.ndarray:
    """float32 (H + 2 margin, W + 2 margin, 3), RGB in [0, 1]."""
    rng = Rng(backdrop.key, 0)
    height, width = SIZE_HW[0] + 2 * MARGIN, SIZE_HW[1] + 2 * MARGIN
    cloud, other = _noise(rng, height, width, 72), _noise(rng, height, width, 40)
    dark, middle, bright = (colour.astype(np.float32) for colour in backdrop.palette)
    ground = dark + (middle - dark) * _edge(cloud * 2 - 0.5)[..., None]
    pattern = _pattern(backdrop, cloud, other)[..., None]
    return ground + (bright - ground) * (pattern * backdrop.strength)


def _pattern(backdrop: Backdrop, cloud: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32 (h, w) in [0, 1]."""
    height, width = cloud.shape
    y, x = _pixel_centres(0, height)[:, None], _pixel_centres(0, width)[None]
    cos, sin = cos_sin(backdrop.turn)
    along, across = (x * cos + y * sin) / 34, (y * cos - x * sin) / 34
    if backdrop.kind == "stripes":
        return _wave(along + backdrop.warp * cloud)
    if backdrop.kind == "tiles":
        return _edge((_wave(along) - 0.5) * (_wave(across) - 0.5) * 12 + 0.5)
    if backdrop.kind == "pebbles":
        a = _wave(along + 0.4 * backdrop.warp * cloud) - 1
        b = _wave(across + 0.4 * backdrop.warp * other) - 1
        return _edge(1.4 - 2.5 * (a * a + b * b))
    return _edge(other * 2.4 - 0.7)


def _noise(rng: Rng, height: int, width: int, cell: int) -> np.ndarray:
    """float32 (height, width) in [0, 1]: smooth noise of three scales, the largest `cell` pixels."""
    total = np.zeros((height, width), np.float32)
    for weight, pitch in ((0.6, cell), (0.27, cell // 3), (0.13, cell // 8)):
        lattice = rng.grid(height // pitch + 2, width // pitch + 2)
        row, v = _lattice_places(height, pitch)
        column, u = _lattice_places(width, pitch)
        lines = lattice[:, column] + (lattice[:, column + 1] - lattice[:, column]) * u
        total += weight * (lines[row] + (lines[row + 1] - lines[row]) * v[:, None])
    return total


def _lattice_places(count: int, pitch: int) -> tuple[np.ndarray, np.ndarray]:
    place = np.arange(count, dtype=np.float32) / np.float32(pitch)
    part = place - np.floor(place)
    return np.floor(place).astype(int), _edge(part)


def _wave(x: np.ndarray) -> np.ndarray:
    """A soft wave of period 1 in [0, 1]."""
    return _edge(2 * np.abs(x - np.floor(x) - np.float32(0.5)))


def _edge(x: np.ndarray) -> np.ndarray:
    """A soft step from 0 to 1."""
    part = np.clip(x, 0, 1)
    return part * part * (3 - 2 * part)
