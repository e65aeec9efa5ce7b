"""Arrays in temporary files: used as any other, and refused where the disk has no space for them."""

import tempfile

import numpy as np
import pytest

from callbacks.arrays import array_in_file, release


def test_an_array_in_a_file_keeps_what_is_written_when_it_leaves_the_memory():
    array = array_in_file((3, 1000), np.float32)
    assert not array.any()
    array[1] = 7.0
    release(array)
    release(array[1:].reshape(2, 1000))
    assert array.sum() == 7000.0


def test_an_array_that_the_disk_has_no_space_for_is_refused_before_anything_is_written(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    array_in_file((100_000,), np.float64)[:] = 1.0
    with pytest.raises(OSError, match="No space left on device"):
        array_in_file((10, 100_000), np.float64)
