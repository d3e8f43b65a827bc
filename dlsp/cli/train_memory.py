"""Training on a CPU with memory that is kept and comes in huge pages: starts the command again with the C library told so.

A training step makes and drops hundreds of tensors of tens of megabytes. By default glibc maps each of them anew, in pages of
4 kB that are all faulted in again; on a virtual machine that took most of a step. Knows nothing of what is trained.
"""

from __future__ import annotations

import os
import platform
import sys

_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def keep_memory() -> None:
    """Replace this process by one of the same command whose allocator keeps what is freed, in huge pages where the system has them.

    Does nothing without glibc, or where the environment says something about its allocator already.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **_SETTINGS})
