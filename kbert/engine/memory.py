"""Memory that the training step uses over and over stays in the process."""

import ctypes
import functools
import sys

# From glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = 2**31 - 1
_TOP_PAD_BYTES = 64 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what a training step frees for the next one.

    By default it hands large blocks back to the system, and every step pays for
    getting them again page by page: a third of a step on a virtual machine.

    Returns:
        Whether the allocator was told; it is glibc's only on Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_THRESHOLD, 2**30),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _TOP_PAD_BYTES),
    )
    return all(mallopt(option, value) == 1 for option, value in settings)
