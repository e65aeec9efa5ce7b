"""Where each file lies in the data folder: nothing else spells the name of one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

INGESTED = "ingested"  # folder beside the logs of runs that the catalogue does not have yet


@dataclass(frozen=True)
class Layout:
    """The places in a data folder.

    Parameters
    ----------
    data_dir : Path
        The folder; it may not exist yet.
    """

    data_dir: Path

    @property
    def logs(self) -> Path:
        """Folder of the logs that are not, or not wholly, in the catalogue."""
        return self.data_dir / "log"

    @property
    def reserve(self) -> Path:
        """File that keeps room for the closing documents of runs."""
        return self.logs / ".reserve"

    def log(self, uid: str) -> Path:
        """Log of a run that is not in the catalogue."""
        return self.logs / f"{uid}.log"

    def ingested_log(self, uid: str, began: float) -> Path:
        """Log of a run that is in the catalogue; `began` in s since 1970."""
        return self.logs / INGESTED / time.strftime("%Y", time.gmtime(began)) / f"{uid}.log"

    def spooled_logs(self) -> list[Path]:
        """List the logs that are not, or not wholly, in the catalogue."""
        return sorted(self.logs.glob("[!.]*.log"))

    def all_logs(self) -> list[Path]:
        """List the logs of all runs."""
        return self.spooled_logs() + sorted((self.logs / INGESTED).glob("*/*.log"))

    def find_log(self, uid: str) -> Path | None:
        """Find the log of a run, wherever it is; None where there is none."""
        # In this order: a log moves from the first place to the second only.
        for pattern in (f"{uid}.log", f"{INGESTED}/*/{uid}.log"):
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
        """Folder of the catalogue: databases, arrays, links to frames."""
        return self.data_dir / "catalog"

    @property
    def frame_links(self) -> Path:
        """Folder of the catalogue's files that link to frames."""
        return self.catalogue / "links"

    @property
    def catalogue_lock(self) -> Path:
        """File that the one process which fills the catalogue holds a lock on."""
        return self.data_dir / "catalog.lock"

    @property
    def ingest_status(self) -> Path:
        """File in which that process says how far it is."""
        return self.data_dir / "ingest.json"

    @property
    def ingest_log(self) -> Path:
        """File of what that process has to say at length."""
        return self.data_dir / "ingest.log"

    @property
    def session_log(self) -> Path:
        """File of what went wrong in sessions, at length."""
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
        """Folder of the reports of demonstrations."""
        return self.data_dir / "reports"


def is_ingested(log: Path) -> bool:
    """Say whether a log lies where those of runs in the catalogue do."""
    return log.parent.parent.name == INGESTED


def is_frame_link(file: Path) -> bool:
    """Say whether a file holds links to frames, made for the catalogue."""
    return Layout(file.parents[2]).frame_links == file.parent
