"""How the C library gives out memory, where that decides the speed of a model on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's <malloc.h>
_MOST = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for the next tensor, for this process; True where it does.

    Otherwise every large tensor is new memory of the system, which it empties first: two fifths of a full-size model's
    time on two cores (`tevit benchmark model`). Where there is no glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, _MOST)) and bool(library.mallopt(_TRIM_THRESHOLD, _MOST))
