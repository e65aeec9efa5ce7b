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
from beamline.formats.importers.inside import LARGEST_TEXT, inside, read_bytes
from beamline.formats.importers.quantities import ENERGIES, number_of
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.text import decode, header_line, one_line, quoted
from callbacks.contract import Key

LOG_ZONE = ZoneInfo("America/Los_Angeles")  # of the ALS, as the log names no time zone
ENERGY_HEADER = "X Motor"  # the header line that names the column of the scanned motor
COLUMNS = {"Izero": Key.I0, "TFY": Key.TFY, "TEY": Key.TEY, "Background": Key.CCD_BACKGROUND}  # others keep their names
NEEDED = ("Time", "Filename", "Izero")
HALF_A_DAY = 43_200  # s
LOG_ENDING = "-AI.txt"
MOST_LINES = 100_000


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
        One message for each line that cannot be read, or has an impossible time.
    left_out : int
        Lines that cannot be read.
    """

    path: Path
    scan_id: int
    header: list[str]
    sources: dict[str, str]
    lines: list[LogLine]
    problems: list[str]
    left_out: int

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
    path = _find_log(folder)
    try:
        text = decode(read_bytes(path, LARGEST_TEXT)).split("\n")
    except (ValueError, FileNotFoundError) as error:
        raise BeamlineError(f"{path}: cannot be read: {error}") from error
    top = next((number for number, line in enumerate(text) if line.startswith("Time\t")), None)
    if top is None:
        raise BeamlineError(f"{path}: no table; expected a line that starts with 'Time' and a tab")
    header, names = text[:top], text[top].split("\t")
    keys = _data_keys(path, header, names)
    lines, problems, left_out = _read_lines(path, text[top:], top + 1, keys, _midnight(path, header))
    if not lines:
        reason = f"; {problems[0]}" if problems else ""
        raise BeamlineError(f"{path}: the table holds no line that can be read{reason}")
    scan_id = scan_id_of(path.with_name(path.name.removesuffix(LOG_ENDING)), problems)
    sources = {key: names[column] for column, key in keys.items()}
    shown = [header_line(line) for line in header]
    return ScanLog(path, scan_id, shown, sources, lines, problems, left_out)


def _read_lines(
    path: Path, table: Sequence[str], top: int, keys: dict[int, str], midnight: datetime
) -> tuple[list[LogLine], list[str], int]:
    """Read the table, which begins in line `top`; give its lines, what is wrong, and how many lines are left out."""
    lines: list[LogLine] = []
    problems: list[str] = []
    written = [(number, line) for number, line in enumerate(table[1:], start=top + 1) if line.strip()]
    if len(written) > MOST_LINES:
        raise BeamlineError(f"{path}: {len(written):,} lines, expected at most {MOST_LINES:,}")
    for number, line in written:
        try:
            found = _read_line(line, table[0].split("\t"), keys, midnight, after=lines[-1].time if lines else 0.0)
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {one_line(error)[:200]}; left out")
            continue
        if lines and found.time < lines[-1].time:
            early = lines[-1].time - found.time
            problems.append(f"{path.name} line {number}: its time is {early:.0f} s before that of the line before")
        lines.append(found)
    return lines, problems, len(written) - len(lines)


def _find_log(folder: Path) -> Path:
    if not folder.is_dir():
        raise BeamlineError(f"{folder}: {'is a file, expected a folder' if folder.exists() else 'no such folder'}")
    logs = [path for path in sorted(folder.glob(f"*{LOG_ENDING}")) if re.search(r"[0-9]-AI$", path.stem)]
    if len(logs) != 1:
        found = ", ".join(path.name for path in logs) or "none"
        raise BeamlineError(f"{folder}: expected one log like cox17174-AI.txt, found {found}")
    return inside(folder, logs[0].name, named_by=str(folder))


def _data_keys(path: Path, header: Sequence[str], names: Sequence[str]) -> dict[int, str]:
    """Return the data key of each column (counted from 0) that holds numbers; no two have the same."""
    motor = next((line.partition(":")[2].strip() for line in header if line.startswith(f"{ENERGY_HEADER}:")), "")
    if "energy" not in motor.lower():
        raise BeamlineError(f"{path}: '{ENERGY_HEADER}' is {quoted(motor)}, expected an energy")
    for name in (*NEEDED, motor):
        if names.count(name) != 1:
            how_many = "no column" if name not in names else f"{names.count(name)} columns"
            raise BeamlineError(f"{path}: the table has {how_many} {name!r}")
    known = {name: str(key) for name, key in COLUMNS.items()} | {motor: str(Key.ENERGY)}
    taken = {str(key) for key in Key}
    keys: dict[int, str] = {}
    for column, name in enumerate(names):
        if name in ("Time", "Filename"):
            continue
        if name in known:
            keys[column] = known.pop(name)
            continue
        key = re.sub(r"\W+", "_", name.lower()).strip("_") or "column"
        keys[column] = key if key not in taken else f"{key}_{column + 1}"
        taken.add(keys[column])
    return keys


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


def _read_line(line: str, names: Sequence[str], keys: dict[int, str], midnight: datetime, *, after: float) -> LogLine:
    fields = line.split("\t")
    if len(fields) != len(names):
        raise ValueError(f"{len(fields)} columns, expected {len(names)}")
    clock = datetime.strptime(fields[names.index("Time")], "%H:%M:%S")
    moment = midnight.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
    while moment.timestamp() < after - HALF_A_DAY:  # midnight has passed
        moment += timedelta(days=1)
    values = {key: number_of(fields[column]) for column, key in keys.items()}
    infinite = next((key for key, value in values.items() if math.isinf(value)), None)
    if infinite is not None:
        raise ValueError(f"{infinite} is infinite")
    if not ENERGIES[0] < values[Key.ENERGY] <= ENERGIES[1]:
        raise ValueError(f"energy is {values[Key.ENERGY]}")
    return LogLine(moment.timestamp(), values, fields[names.index("Filename")].strip())
