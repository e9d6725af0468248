"""Settings of the C library's allocator for models on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's <malloc.h>
_MAX_INT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory in this process for later tensors; returns whether that succeeded.

    Otherwise the kernel maps and clears new pages for every large tensor: two fifths of a full-size model's time on two
    cores (`tevit benchmark model`). Does nothing without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, _MAX_INT)) and bool(library.mallopt(_TRIM_THRESHOLD, _MAX_INT))
