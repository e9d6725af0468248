"""Weights, videos and ground truth by recipe: the same bytes everywhere, so that recorded numbers need no weights.

A manifest lists every key of an original state dict with shape, mean and standard deviation; a value is
float32(mean + std * normal), its normals from PCG64 seeded by the key's CRC-32.
"""

import gzip
import json
import zlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

GOLDENS = Path(__file__).parent / "goldens"
DRAWN = 1 << 17  # values at a time, which stay in the processor's cache


def manifest(model: str) -> list[dict[str, Any]]:
    """The manifest of "msgshift", "r50", "swinl" or "queryinst_pvtv2b1_coco"."""
    with gzip.open(GOLDENS / f"manifest_{model}.json.gz", "rt") as file:
        return json.load(file)


def state_arrays(entries: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Key -> float32 array; what follows from the architecture (kind "buffer") is left out."""
    parameters = [entry for entry in entries if entry.get("kind") != "buffer"]
    with ThreadPoolExecutor(2) as pool:  # numpy draws outside of Python's lock
        return {entry["key"]: values for entry, values in zip(parameters, pool.map(_array, parameters), strict=True)}


def _array(entry: dict[str, Any]) -> np.ndarray:
    draws = np.random.Generator(np.random.PCG64(crc(entry["key"].encode())))
    values = np.empty(tuple(entry["shape"]), np.float32)
    flat = values.reshape(-1)
    for start in range(0, flat.size, DRAWN):
        part = draws.standard_normal(min(DRAWN, flat.size - start))
        part *= entry["std"]
        part += entry["mean"]
        flat[start : start + DRAWN] = np.abs(part) if entry.get("abs") else part
    return values


def crc(data: bytes | np.ndarray) -> int:
    """CRC-32 of bytes, or of an array's."""
    return zlib.crc32(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())


def _wave(phase):
    """Triangle wave of period 1 between 0 and 1."""
    return 2.0 * np.abs(phase - np.floor(phase) - 0.5)


def _numbers(seed: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random((count, 12))


def make_video(seed: int, length: int, height: int, width: int, blobs: int = 6) -> np.ndarray:
    """uint8 RGB (T, H, W, 3): gradient, stripes and soft blobs, all moving, the brightness changing with each frame.

    Only + - * / and comparisons of float64 are used, in a fixed order, so that the bytes are the same everywhere.
    """
    numbers = _numbers(seed, blobs + 1)
    y = ((np.arange(height) + 0.5) / height)[:, None]
    x = ((np.arange(width) + 0.5) / width)[None, :]
    return np.stack([_frame(numbers, t, y, x) for t in range(length)])


def _frame(numbers: np.ndarray, t: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    last = numbers[-1]
    image = np.empty((len(y), x.shape[1], 3))
    for c in range(3):
        level = _wave(0.37 * t + last[6 + c])
        image[..., c] = 0.1 + 0.5 * level + 0.4 * (last[c] - 0.5) * x + 0.4 * (last[3 + c] - 0.5) * y
    stripes = _wave((6 + 6 * last[9]) * x + (4 + 4 * last[10]) * y + 0.23 * t)
    image += (0.3 * (stripes - 0.5))[..., None]
    for q in numbers[:-1]:
        a = _blob(q, t, y, x)[..., None]
        image = image * (1 - a) + a * q[6:9]
    return np.floor(np.clip(image, 0, 1) * 255.0 + 0.5).astype(np.uint8)


def _blob(q: np.ndarray, t: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    cx = 0.1 + 0.8 * _wave(q[0] + (q[2] - 0.5) * 0.5 * t)
    cy = 0.1 + 0.8 * _wave(q[1] + (q[3] - 0.5) * 0.5 * t)
    rx, ry = 0.05 + 0.12 * q[4], 0.05 + 0.12 * q[5]
    d = ((x - cx) / rx) * ((x - cx) / rx) + ((y - cy) / ry) * ((y - cy) / ry)
    return 1.0 / (1.0 + d * d)


def make_gt(
    seed: int, length: int, height: int, width: int, instances: int, absent: Collection[tuple[int, int]] = ()
) -> list[dict[str, np.ndarray]]:
    """Ground truth of a clip: for each frame ids, labels, boxes xyxy float32 and masks uint8 of moving ellipses.

    absent: (instance, frame) pairs left out. The order of the instances in a frame turns with the frame's number.
    """
    numbers = _numbers(seed + 100003, max(instances, 1))
    frames = []
    for t in range(length):
        order = [(k + t) % instances for k in range(instances)] if instances else []
        present = [k for k in order if (k, t) not in absent]
        masks = [_ellipse(numbers[k], t, height, width) for k in present]
        frames.append(
            {
                "ids": np.array([10 + 7 * (instances - k) for k in present], np.int64),
                "labels": np.array([int(numbers[k][9] * 40) for k in present], np.int64),
                "boxes": np.array([_tight_box(mask) for mask in masks], np.float32).reshape(-1, 4),
                "masks": np.stack(masks) if masks else np.zeros((0, height, width), np.uint8),
            }
        )
    return frames


def _ellipse(q: np.ndarray, t: int, height: int, width: int) -> np.ndarray:
    y, x = (np.arange(height) + 0.5)[:, None], (np.arange(width) + 0.5)[None, :]
    cx = width * (0.25 + 0.5 * q[0] + (q[2] - 0.5) * 0.08 * t)
    cy = height * (0.25 + 0.5 * q[1] + (q[3] - 0.5) * 0.08 * t)
    rx, ry = width * (0.08 + 0.15 * q[4]), height * (0.10 + 0.20 * q[5])
    inside = (((x - cx) / rx) * ((x - cx) / rx) + ((y - cy) / ry) * ((y - cy) / ry)) <= 1.0
    return inside.astype(np.uint8)


def _tight_box(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
