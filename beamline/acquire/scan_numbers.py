"""Number the scans of a data folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

from beamline.storage import Layout


def next_scan_id(data_dir: Path) -> int:
    """Return the next scan number of a data folder; two processes never get the same one."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with Layout(data_dir).scan_id.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        scan_id = int(file.read() or 0) + 1
        file.seek(0)
        file.truncate()
        file.write(str(scan_id))
    return scan_id
