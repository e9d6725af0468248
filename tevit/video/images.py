"""Decoding of images: the size that the header states is checked first, and every fault is one sentence."""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image

from tevit.limits import LimitError, input_limits

# What PIL raises for damaged files; its own limit of pixels is checked here, too.
IMAGE_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


@contextmanager
def reading_image(subject: str) -> Iterator[None]:
    """Raise every fault of PIL as one sentence that begins with `subject`. Raises: ValueError, MemoryError."""
    try:
        yield
    except LimitError:
        raise
    except MemoryError:
        raise MemoryError(f"{subject} cannot be read (not enough memory)") from None
    except IMAGE_FAULTS as error:
        raise ValueError(f"{subject} cannot be read ({str(error) or type(error).__name__})") from None


def _has_header(file: IO[bytes], name: str) -> bool:
    """Whether an image's header is recognised. Raises: LimitError where it states more pixels than are read."""
    limits = input_limits()
    try:
        with Image.open(file) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:  # from twice PIL's own limit on, which ours may exceed
        match = re.search(r"\d+", str(error))
        limits.check("pixels", int(match[0]) if match else limits.pixels + 1, name)
        return True
    except IMAGE_FAULTS:
        return False
    limits.check_size(width, height, name)
    return True


def decode_image(data: bytes, name: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """The picture of an image file's bytes as OpenCV decodes it, BGR; None where it cannot be read.

    name: of the file, for messages. flags: OpenCV's. Raises: LimitError for more pixels than are read; MemoryError.
    """
    if not data or not _has_header(io.BytesIO(data), name):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{name}: not enough memory to decode it") from None
        return None


def decode_page(file: Path, page: int, flags: int) -> np.ndarray | None:
    """A page of a TIFF file as OpenCV decodes it; None where it cannot be read. Its size is checked by the caller.

    Raises: MemoryError.
    """
    try:
        read, pages = cv2.imreadmulti(str(file), start=page, count=1, flags=flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"{file}: not enough memory to decode it") from None
        return None
    return np.asarray(pages[0]) if read else None


def bits_of(largest: int) -> tuple[int | None, list[str]]:
    """Bits of the values of 16-bit images, 10 or 12, by the largest of them; None where all are used. And a note."""
    if not 0 < largest < 1 << 12:
        return None, []
    bits = 10 if largest < 1 << 10 else 12
    return bits, [f"the 16-bit images hold values up to {largest}: they are read as {bits} bit"]


def to_8_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """uint8, of uint16 values of so many bits."""
    return np.minimum(np.right_shift(values, bits - 8), 255).astype(np.uint8)
