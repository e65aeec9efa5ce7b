"""Write frames, and be killed with the file open."""

import os
import signal
import sys

import h5py

file = h5py.File(sys.argv[1], "w", libver="latest")
file.attrs["detector"] = "ccd"
data = file.create_dataset(
    "entry/data/data", (0, 8, 16), maxshape=(None, 8, 16), chunks=(1, 8, 16), dtype="u2", compression="gzip"
)
data.attrs["units"] = "counts"
file.swmr_mode = True
for n in range(7):
    data.resize(n + 1, axis=0)
    data[n] = n
    data.flush()
os.kill(os.getpid(), signal.SIGKILL)
