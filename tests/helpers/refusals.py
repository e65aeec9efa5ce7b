"""What a disk or a system refuses, for tests of what is said and kept then."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_file_beyond(size):
    """Refuse to write any file of this process beyond a size, bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_privileges():
    """Let permission bits count, also where the tests run as root."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def refuse_to_read(path):
    """Let the disk refuse what this process reads of a file that it has open: the file becomes a folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    for link in Path("/proc/self/fd").iterdir():
        if os.path.lexists(link) and os.readlink(link) == str(path):
            os.dup2(folder, int(link.name))
    os.close(folder)
