"""The log of a CCD scan of the ALS iRIXS endstation: a header, then a table with one line for each frame.

The table is separated by tabs and begins with the line that starts with ``Time``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from beamline.errors import BeamlineError
from callbacks.contract import Key

LOG_ZONE = ZoneInfo("America/Los_Angeles")  # of the ALS, as the log names no time zone
ENERGY_HEADER = "X Motor"  # the header line that names the column of the scanned motor
COLUMNS = {"Izero": Key.I0, "TFY": Key.TFY, "TEY": Key.TEY, "Background": Key.CCD_BACKGROUND}  # others keep their names
NEEDED = ("Time", "Filename", "Izero")
HALF_A_DAY = 43_200  # s


@dataclass(frozen=True)
class LogLine:
    """The line of one frame."""

    time: float  # s since 1970, when the line was written
    values: dict[str, float]  # data key -> value
    frame_name: str  # without folder and suffix


@dataclass(frozen=True)
class ScanLog:
    """The log of a scan.

    Attributes
    ----------
    path : Path
        The file.
    scan_id : int
        The scan's number.
    header : list of str
        All lines above the table.
    sources : dict of str to str
        Column of the log by data key.
    lines : list of LogLine
        One for each frame, in order.
    problems : list of str
        One message for each line that cannot be read.
    """

    path: Path
    scan_id: int
    header: list[str]
    sources: dict[str, str]
    lines: list[LogLine]
    problems: list[str]

    @property
    def frame_interval(self) -> float:
        """Median time between log lines, s, which is an upper bound of the exposure time; NaN for a single frame."""
        times = [line.time for line in self.lines]
        return float(np.median(np.diff(times))) if len(times) > 1 else math.nan


def read_log(folder: Path) -> ScanLog:
    """Read the log of a scan.

    Parameters
    ----------
    folder : Path
        The scan's folder.

    Raises
    ------
    BeamlineError
        When there is no log or more than one, when its table, its date or a column it needs is missing, or when no
        line of the table can be read.
    """
    path, scan_id = _find_log(folder)
    try:
        text = path.read_text(encoding="latin-1").split("\n")  # written by Windows; every byte is a character
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be read: {error.strerror}") from error
    top = next((number for number, line in enumerate(text) if line.startswith("Time\t")), None)
    if top is None:
        raise BeamlineError(f"{path}: no table; expected a line that starts with 'Time' and a tab")
    header, names = text[:top], text[top].split("\t")
    keys = _data_keys(path, header, names)
    midnight = _midnight(path, header)

    lines: list[LogLine] = []
    problems: list[str] = []
    for number, line in enumerate(text[top + 1 :], start=top + 2):
        if not line.strip():
            continue
        try:
            lines.append(_read_line(line, names, keys, midnight, after=lines[-1].time if lines else 0.0))
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {error}; left out")
    if not lines:
        raise BeamlineError(f"{path}: the table holds no line that can be read")
    sources = {key: name for name, key in keys.items()}
    return ScanLog(path, scan_id, header, sources, lines, problems)


def _find_log(folder: Path) -> tuple[Path, int]:
    if not folder.is_dir():
        raise BeamlineError(f"{folder}: no such folder")
    logs = [(path, match) for path in sorted(folder.glob("*-AI.txt")) if (match := re.search(r"(\d+)-AI$", path.stem))]
    if len(logs) != 1:
        found = ", ".join(path.name for path, _ in logs) or "none"
        raise BeamlineError(f"{folder}: expected one log like cox17174-AI.txt, found {found}")
    path, match = logs[0]
    return path, int(match[1])


def _data_keys(path: Path, header: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the data key of each column that holds numbers."""
    motor = next((line.partition(":")[2].strip() for line in header if line.startswith(f"{ENERGY_HEADER}:")), "")
    if "energy" not in motor.lower():
        raise BeamlineError(f"{path}: '{ENERGY_HEADER}' is {motor!r}, expected an energy")
    for name in (*NEEDED, motor):
        if name not in names:
            raise BeamlineError(f"{path}: the table has no column {name!r}")
    keys = {name: re.sub(r"\W+", "_", name.lower()).strip("_") for name in names if name not in ("Time", "Filename")}
    return keys | {name: str(key) for name, key in COLUMNS.items() if name in keys} | {motor: str(Key.ENERGY)}


def _midnight(path: Path, header: Sequence[str]) -> datetime:
    r"""Find the date in ``Data File Path: C:\...\240705\CCD Scan 17174``."""
    data_path = next((line for line in header if line.startswith("Data File Path:")), "")
    for part in reversed(data_path.split("\\")):
        if re.fullmatch(r"\d{6}", part):
            try:
                return datetime.strptime(part, "%y%m%d").replace(tzinfo=LOG_ZONE)
            except ValueError:
                break
    raise BeamlineError(rf"{path}: no date; expected one like 240705 in 'Data File Path: ...\240705\CCD Scan ...'")


def _read_line(line: str, names: Sequence[str], keys: dict[str, str], midnight: datetime, *, after: float) -> LogLine:
    fields = line.split("\t")
    if len(fields) != len(names):
        raise ValueError(f"{len(fields)} columns, expected {len(names)}")
    by_name = dict(zip(names, fields, strict=True))
    clock = datetime.strptime(by_name["Time"], "%H:%M:%S")
    moment = midnight.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
    while moment.timestamp() < after - HALF_A_DAY:  # midnight has passed
        moment += timedelta(days=1)
    values = {key: float(by_name[name]) for name, key in keys.items()}
    if not math.isfinite(values[Key.ENERGY]):
        raise ValueError(f"energy is {values[Key.ENERGY]}")
    return LogLine(moment.timestamp(), values, by_name["Filename"].strip())
