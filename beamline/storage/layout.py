"""The layout of the data folder: the only module that spells the names of its files and folders."""

from __future__ import annotations

import time
from dataclasses import dataclass
from glob import escape
from pathlib import Path

INGESTED = "ingested"  # subfolder of the logs, for runs that are completely in the catalogue


@dataclass(frozen=True)
class Layout:
    """Paths of the files and folders in a data folder.

    Parameters
    ----------
    data_dir : Path
        The data folder; it need not exist yet.
    """

    data_dir: Path

    @property
    def logs(self) -> Path:
        """Folder of the logs; those of runs not yet completely in the catalogue lie directly in it."""
        return self.data_dir / "log"

    def log(self, uid: str) -> Path:
        """Log of a run that is not yet completely in the catalogue."""
        return self.logs / f"{uid}.log"

    def ingested_log(self, uid: str, start_time: float) -> Path:
        """Log of a run that is in the catalogue; `start_time` in s since 1970."""
        return self.logs / INGESTED / time.strftime("%Y", time.gmtime(start_time)) / f"{uid}.log"

    def pending_logs(self) -> list[Path]:
        """List the logs of runs that are not yet completely in the catalogue."""
        return sorted(self.logs.glob("[!.]*.log"))

    def all_logs(self) -> list[Path]:
        """List the logs of all runs."""
        return self.pending_logs() + sorted((self.logs / INGESTED).glob("*/*.log"))

    def find_log(self, uid: str) -> Path | None:
        """Find the log of a run in either place; None if it has none."""
        # In this order, because a log only ever moves from the first place to the second.
        for pattern in (f"{escape(uid)}.log", f"{INGESTED}/*/{escape(uid)}.log"):
            for path in self.logs.glob(pattern):
                return path
        return None

    @property
    def frames(self) -> Path:
        """Folder that cameras write their frames to."""
        return self.data_dir / "frames"

    @property
    def derived(self) -> Path:
        """Folder of the large arrays of derived runs."""
        return self.data_dir / "derived"

    @property
    def catalogue(self) -> Path:
        """Folder of the catalogue: its databases, arrays and links to frames."""
        return self.data_dir / "catalog"

    @property
    def frame_links(self) -> Path:
        """Folder of the HDF5 files that link to frames on behalf of the catalogue."""
        return self.catalogue / "links"

    @property
    def catalogue_lock(self) -> Path:
        """File locked by the process that fills the catalogue, so that there is only one."""
        return self.data_dir / "catalog.lock"

    @property
    def ingest_status(self) -> Path:
        """File in which the process that fills the catalogue reports its progress (JSON)."""
        return self.data_dir / "ingest.json"

    @property
    def ingest_log(self) -> Path:
        """Log file of the process that fills the catalogue."""
        return self.data_dir / "ingest.log"

    @property
    def session_log(self) -> Path:
        """Log file of sessions: warnings and errors in full."""
        return self.data_dir / "beamline.log"

    @property
    def scan_id(self) -> Path:
        """File that holds the number of the last scan."""
        return self.data_dir / "scan_id"

    @property
    def live(self) -> Path:
        """Folder of the live picture."""
        return self.data_dir / "live"

    @property
    def reports(self) -> Path:
        """Folder of the reports that demonstrations write."""
        return self.data_dir / "reports"


def is_ingested(log: Path) -> bool:
    """Tell whether a log is that of a run that is completely in the catalogue, by its path."""
    return log.parent.parent.name == INGESTED


def is_frame_link(file: Path) -> bool:
    """Tell whether a file links to frames on behalf of the catalogue, by its path."""
    return Layout(file.parents[2]).frame_links == file.parent
