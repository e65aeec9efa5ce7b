"""The layout of the data folder: the only module that spells the names of its files and folders."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from glob import escape
from itertools import chain, count
from pathlib import Path

LOG = ".log"  # how names of logs end
INGESTED = "ingested"  # subfolder of the logs, for runs that are completely in the catalogue
# Names of the processes that follow the logs; see `beamline.processes`.
INGEST, REDUCTION, PICTURE = PROCESSES = ("ingest", "reduction", "picture")


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
        return self.logs / f"{uid}{LOG}"

    def ingested_log(self, uid: str, start_time: float) -> Path:
        """Log of a run that is in the catalogue; `start_time` in s since 1970."""
        try:
            year = time.strftime("%Y", time.gmtime(start_time))
        except (ValueError, OverflowError, OSError):  # of a clock that was not set
            year = "unknown"
        return self.logs / INGESTED / year / f"{uid}{LOG}"

    def pending_logs(self) -> list[Path]:
        """List the logs of runs that are not yet completely in the catalogue."""
        return logs_in(self.logs)

    def ingested_logs(self) -> Iterator[Path]:
        """Yield the logs of runs that are in the catalogue, in no particular order."""
        return (path for folder in self.folders_of_ingested_logs() for path in logs_in(folder))

    def folders_of_ingested_logs(self) -> list[Path]:
        """List the folders that the logs of runs lie in that are in the catalogue."""
        return [folder for folder in (self.logs / INGESTED).glob("*") if folder.is_dir()]

    def all_logs(self) -> list[Path]:
        """List the logs of all runs."""
        return self.pending_logs() + sorted(self.ingested_logs())

    def find_log(self, uid: str) -> Path | None:
        """Find the log of a run in either place; None if it has none."""
        if not uid or "/" in uid or "\0" in uid:
            return None
        # Twice, because a log moves while this looks: to the second place when its run has been ingested, and back to
        # the first when the catalogue is made anew.
        for _ in range(2):
            for path in (self.log(uid), *(self.logs / INGESTED).glob(f"*/{escape(uid)}{LOG}")):
                if is_regular(path):
                    return path
        return None

    @property
    def energy_calibrations(self) -> Path:
        """File of the calibrations of the monochromator's scale, a line each (JSON), the newest last."""
        return self.data_dir / "energy_calibrations.jsonl"

    @property
    def frames(self) -> Path:
        """Folder that cameras write their frames to."""
        return self.data_dir / "frames"

    @property
    def derived(self) -> Path:
        """Folder of the large arrays of derived runs."""
        return self.data_dir / "derived"

    def derived_file(self, uid: str) -> Path:
        """HDF5 file of the large arrays of a derived run."""
        return self.derived / f"{uid}.h5"

    @property
    def catalogue(self) -> Path:
        """Folder of the catalogue: its databases, arrays and links to frames."""
        return self.data_dir / "catalog"

    @property
    def catalogue_address(self) -> Path:
        """File that says which database the catalogue is kept in (JSON); where there is none, it is SQLite."""
        return self.data_dir / "catalogue.address"

    @property
    def catalogue_password(self) -> Path:
        """File with the password of that database, where the configuration has it; only the owner can read it."""
        return self.data_dir / "catalogue.pgpass"

    @property
    def catalogue_format(self) -> Path:
        """File in the catalogue's folder that says in what format it is, and for which data folder it was made."""
        return self.catalogue / "catalogue.json"

    @property
    def catalogue_database(self) -> Path:
        """Database of the runs, their streams, and where their data lie."""
        return self.catalogue / "catalog.db"

    @property
    def catalogue_tables(self) -> Path:
        """Database of the tables of events."""
        return self.catalogue / "tables.db"

    @property
    def catalogue_arrays(self) -> Path:
        """Folder of the arrays of events."""
        return self.catalogue / "arrays"

    def arrays_of(self, container: str, uid: str) -> Path:
        """Folder of the arrays of events of one run, in that of the catalogue's container that the run is in."""
        return self.catalogue_arrays / container / uid

    def checksums(self, uid: str) -> Path:
        """File with the checksums of what one run has in the catalogue (JSON)."""
        return self.catalogue / "checksums" / f"{uid}.json"

    @property
    def new_catalogue(self) -> Path:
        """Folder in which a catalogue is created, before it gets its name."""
        return self.data_dir / ".catalog.new"

    def damaged_catalogue(self, time_: float) -> Path:
        """Folder to which a catalogue is moved that has to be made anew; `time_` in s since 1970."""
        name = f"{self.catalogue.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(time_))}"
        names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
        return next(path for each in names if not (path := self.data_dir / each).exists())

    @property
    def frame_links(self) -> Path:
        """Folder of the HDF5 files that link to frames on behalf of the catalogue."""
        return self.catalogue / "links"

    def process_lock(self, name: str) -> Path:
        """File locked by the one process of its kind that follows the logs; see `beamline.processes`."""
        return self.data_dir / f"{name}.lock"

    def process_status(self, name: str) -> Path:
        """File in which a process that follows the logs reports its progress (JSON)."""
        return self.data_dir / f"{name}.json"

    def process_log(self, name: str) -> Path:
        """Log file of a process that follows the logs."""
        return self.data_dir / f"{name}.log"

    @property
    def catalogue_lock(self) -> Path:
        """File locked by the process that fills the catalogue, so that there is only one."""
        return self.process_lock(INGEST)

    @property
    def creation_lock(self) -> Path:
        """File locked by a process that creates the catalogue, so that there is only one."""
        return self.data_dir / ".catalog.creating"

    @property
    def recovery_lock(self) -> Path:
        """File locked by a process that recovers the data folder, so that there is only one."""
        return self.data_dir / ".recovering"

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
    def service(self) -> Path:
        """Folder of the service: keys, queue, logs of its processes; only the owner can look into it."""
        return self.data_dir / "service"

    @property
    def reports(self) -> Path:
        """Folder of the reports that demonstrations write."""
        return self.data_dir / "reports"

    def part_with(self, path: Path) -> Path | None:
        """Find the part of the data folder that a path lies in, symbolic links followed.

        Returns
        -------
        Path or None
            One of the files and folders above, or what was made beside it, as a lock or a catalogue that was damaged.
            None for the reports, for names in the data folder that nothing here has, and elsewhere.
        """
        target = Path(os.path.realpath(path))
        parts = (
            *(
                self.logs,
                self.frames,
                self.derived,
                self.catalogue,
                self.live,
                self.scan_id,
                self.new_catalogue,
                self.service,
            ),
            *(
                self.creation_lock,
                self.recovery_lock,
                self.session_log,
                self.catalogue_address,
                self.catalogue_password,
            ),
            *(self.process_lock(name) for name in PROCESSES),
            *(self.process_status(name) for name in PROCESSES),
            *(self.process_log(name) for name in PROCESSES),
        )
        for part in parts:
            if target.is_relative_to(os.path.realpath(part)):
                return part
        folder = Path(os.path.realpath(self.data_dir))
        if target == folder or not target.is_relative_to(folder):
            return None
        name = target.relative_to(folder).parts[0]
        beside = (f"{self.catalogue.name}.damaged-", *(f".{part.name}." for part in parts))
        return self.data_dir / name if name.startswith(beside) else None


def logs_in(folder: Path, known: Container[str] = ()) -> list[Path]:
    """List the logs in a folder, by name, but for those of runs that are known; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in entries if each.name.endswith(LOG) and not each.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    unknown = sorted(name for name in names if name.removesuffix(LOG) not in known)
    return [path for name in unknown if is_regular(path := folder / name)]


def is_regular(path: Path) -> bool:
    """Tell whether a path is a file or a link to one; to open a pipe or a device could take for ever."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False


def unused_name(path: Path, ending: str) -> Path:
    """Give a name beside a log, for what is kept of it aside, that no file has."""
    names = (path.with_name(f"{path.name}{ending}{number}") for number in chain([""], (f"-{n}" for n in count(2))))
    return next(name for name in names if not os.path.lexists(name))


def data_folder_of(log: Path) -> Path:
    """Return the data folder that a log lies in, by its path."""
    return log.parents[3] if is_ingested(log) else log.parents[1]


def is_ingested(log: Path) -> bool:
    """Tell whether a log is that of a run that is completely in the catalogue, by its path."""
    return log.parent.parent.name == INGESTED


def is_frame_link(file: Path) -> bool:
    """Tell whether a file links to frames on behalf of the catalogue, by its path."""
    return len(file.parents) > 2 and Layout(file.parents[2]).frame_links == file.parent
