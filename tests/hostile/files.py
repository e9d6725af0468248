"""Files of people who mean harm: small, and large once they are read."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG of one bit a pixel; with `rows`, packed already, all of it, else little more than the header."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows or b"x") + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black_png(side: int) -> bytes:
    """A PNG that is whole: one packed black row after the other."""
    packer, row = zlib.compressobj(9), b"\0" * (1 + -(-side // 8))
    return png(side, side, b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def tiny_predictions(path: Path, count: int) -> Path:
    """A submission zip of `count` predictions of 70 bytes, which packs to a three-hundredth."""
    one = json.dumps({"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": []}).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("results.json", b"[" + b",".join([one] * count) + b"]")
    return path


def video(path: Path, size_hw: tuple[int, int] = (16, 16), frames: int = 3, codec: str = "libx264") -> Path:
    """A grey video of ten frames a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuv420p"
        picture = np.full((*size_hw, 3), 90, np.uint8)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def bmp_header(width: int, height: int) -> bytes:
    """The header of a BMP image of 24 bits a pixel."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(30)
