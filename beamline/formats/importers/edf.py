"""RIXS frames in files of the ESRF data format (EDF), with the energies in their headers or in a SPEC file beside them.

A frame is a header in braces, ``name = value ;`` a line, padded to a multiple of 512 bytes, and its pixels; a file has
one or several. Headers of the ESRF hold all motors and counters: ``motor_mne``, ``motor_pos``, ``counter_mne`` and
``counter_pos``. See P. Boesecke, J. Appl. Cryst. 40 (2007) s423. Frames that are compressed are not read.
"""

from __future__ import annotations

import math
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import DWELL, ENERGY, I0, SETPOINT, known_columns, name_and_unit
from beamline.formats.importers.inside import inside, size_of, unreadable
from beamline.formats.importers.kind import Documents, Kind, Request, head_of, names_in
from beamline.formats.importers.left_out import shortened
from beamline.formats.importers.quantities import ENERGIES, check_range, is_time, number_of
from beamline.formats.importers.rixs_run import FrameFile, RixsScan, camera_of, i0_in_counts, rixs_run, writing_frames
from beamline.formats.importers.spec import SPEC, read_scans
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.importers.text_table import read_table
from beamline.formats.text import decode, one_line, quoted
from beamline.text import clean
from callbacks.contract import Key

FloatArray = NDArray[np.floating]

LARGEST_HEADER = 65_536  # bytes
LARGEST_FRAME = 64_000_000  # pixels
MOST_FRAMES = 100_000
TYPES = {
    **{"unsignedbyte": "u1", "signedbyte": "i1", "unsignedshort": "u2", "signedshort": "i2"},
    **dict.fromkeys(("unsignedinteger", "unsignedlong"), "u4"),
    **dict.fromkeys(("signedinteger", "signedlong"), "i4"),
    **{"unsigned64": "u8", "signed64": "i8"},
    **dict.fromkeys(("float", "floatvalue", "real"), "f4"),
    **dict.fromkeys(("double", "doublevalue"), "f8"),
}
EXPOSURES = ("acq_expo_time", "exposure_time", "ExposureTime", "count_time", "sec", "Seconds")
TIMES = ("time_of_day", "time_of_frame")
KEV_BELOW = 20.0  # of energies without a unit, as for absorption spectra


@dataclass(frozen=True)
class EdfFrame:
    """A frame of a file: what its header says, and where its pixels are."""

    path: Path
    header: dict[str, str]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int

    @property
    def values(self) -> dict[str, str]:
        """The header, with the motors and counters by their names."""
        found = dict(self.header)
        for kind in ("motor", "counter"):
            names, numbers = (self.header.get(f"{kind}_{what}", "").split() for what in ("mne", "pos"))
            found |= dict(zip(names, numbers, strict=False))
        return found


def edf_documents(
    path: Path, *, frames_dir: Path, part: str = "", columns: Mapping[str, str] | None = None
) -> Documents:
    """Convert frames to the documents of a raw run.

    Parameters
    ----------
    path : Path
        A file, or a folder of files, in the order of their names.
    frames_dir : Path
        Folder in which a file with the frames is written, under a unique name.
    part : str
        The scan of the SPEC file in the folder that the frames are of, where their headers have no energy.
    columns : mapping of str to str, optional
        Which value of the headers, or column of the scan, is ``energy``, ``i0`` or ``dwell``.

    Raises
    ------
    BeamlineError
        When there is no frame, or no energy of each.
    """
    problems: list[str] = []
    frames = _frames(path, problems)
    shape, dtype = Counter((frame.shape, frame.dtype) for frame in frames).most_common(1)[0][0]
    values, sources = _values(path, frames, part, columns or {}, problems)
    energy = values.pop(ENERGY)
    if not np.isfinite(energy).any():
        raise BeamlineError(f"{path}: no energy of its frames is a number")
    uid = str(uuid.uuid4())
    target = frames_dir.resolve() / f"edf_{uid[:8]}.h5"
    wrong = _write(target, frames, shape, dtype)
    wrong = [each or ("" if math.isfinite(at) else "no energy") for each, at in zip(wrong, energy, strict=True)]
    known = energy[np.isfinite(energy)]
    if known.max() < KEV_BELOW:
        problems.append(f"energies have no unit and are at most {known.max():g}: taken as keV")
        energy = energy * 1e3
    else:
        problems.append("energies have no unit: taken as eV")
    try:
        check_range("energy", energy[np.isfinite(energy)], ENERGIES, "eV")
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    exposure = values.get(DWELL, np.full(len(frames), math.nan))
    i0 = i0_in_counts(values.get(I0), exposure, problems)
    file = FrameFile(target, len(frames), shape, dtype.newbyteorder("="))
    marked = [f"frame {number}: {problem}" for number, problem in enumerate(wrong, start=1) if problem]
    lacking = f"{len(marked)} of {len(frames)} frames cannot be used" if marked else ""
    scan = RixsScan(
        uid,
        file,
        {str(Key.ENERGY): energy, str(Key.I0): i0, str(Key.EXPOSURE_TIME): exposure},
        {str(Key.ENERGY): sources[ENERGY], str(Key.I0): sources.get(I0, path.name)},
        _times(path, frames, exposure, problems),
        wrong,
        camera_of(file, problems),
        f"{path.name}: EDF",
    )
    finite = exposure[np.isfinite(exposure)]
    metadata = {
        "plan_name": "import_edf",
        "scan_id": scan_id_of(path, problems),
        "imported_from": str(path.resolve()) + (f"::{part}" if part else ""),
        "import_problems": [clean(one) for one in (*filter(None, [lacking]), *shortened(marked, "frames"), *problems)],
    }
    yield from rixs_run(
        scan,
        sample="",
        exposure_time=float(np.median(finite)) if finite.size else math.nan,
        metadata=metadata,
        ended=("abort", lacking) if lacking else ("success", ""),
    )


def _frames(path: Path, problems: list[str]) -> list[EdfFrame]:
    """Find the frames of a file, or of all files of a folder."""
    if path.is_dir():
        names = [name for name in names_in(path) if name.lower().endswith(".edf")]
        paths = [inside(path, name, named_by=str(path)) for name in names]
    else:
        paths = [path]
    found: list[EdfFrame] = []
    for one in paths:
        try:
            size_of(one)
            found += _frames_of(one)
        except (OSError, ValueError) as error:
            if len(paths) == 1:
                raise BeamlineError(unreadable(one, error)) from error
            problems.append(f"{one.name}: {one_line(error).removeprefix(f'{one.name}: ')}; left out")
        if len(found) > MOST_FRAMES:
            raise BeamlineError(f"{path}: more than {MOST_FRAMES:,} frames")
    if not found:
        raise BeamlineError(f"{path}: no frame; {problems[0] if problems else 'expected files .edf'}")
    return found


def _frames_of(path: Path) -> Iterator[EdfFrame]:
    """Find the frames of a file; a last one may reach beyond its end, which is found when it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            file.seek(offset)
            head = file.read(LARGEST_HEADER)
            if not head.strip(b"\0\r\n \t"):
                return
            end = _end_of_header(head)
            if not head.lstrip().startswith(b"{") or end < 0:
                raise ValueError(f"{path.name}: byte {offset} begins no header in braces")
            header = _fields(decode(head[:end]))
            frame, length = _described(path, header, offset + end)
            yield frame
            offset += end + length


def _fields(text: str) -> dict[str, str]:
    """Read the fields of a header: ``name = value ;``."""
    pairs = [part.partition("=") for part in text.strip().removeprefix("{").split(";")]
    return {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()}


def _end_of_header(head: bytes) -> int:
    """Give where a header ends, behind its brace and the end of that line; -1 if it does not."""
    found = re.search(rb"\}\r?\n", head)
    return found.end() if found else -1


def _described(path: Path, header: dict[str, str], offset: int) -> tuple[EdfFrame, int]:
    """Read what a header says of its frame; give the frame, and how many bytes it takes."""
    known = {name.lower(): value for name, value in header.items()}
    kind = TYPES.get(known.get("datatype", "").lower())
    if kind is None:
        raise ValueError(f"{path.name}: DataType is {quoted(known.get('datatype', ''))}, expected one as UnsignedShort")
    if known.get("compression", "none").lower() not in ("none", ""):
        raise ValueError(f"{path.name}: is compressed ({quoted(known['compression'])}), expected plain pixels")
    try:
        columns, rows = int(known["dim_1"]), int(known.get("dim_2", "1"))
        length = int(known.get("edf_binarysize", known.get("size", "")) or 0)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path.name}: no size of its frame: {one_line(error)}") from error
    if not (0 < columns <= LARGEST_FRAME and 0 < rows <= LARGEST_FRAME and rows * columns <= LARGEST_FRAME):
        raise ValueError(f"{path.name}: claims {rows} x {columns} pixels, expected at most {LARGEST_FRAME:,}")
    order = ">" if known.get("byteorder", "").lower() == "highbytefirst" else "<"
    dtype = np.dtype(order + kind)
    needed = rows * columns * dtype.itemsize
    if length and length < needed:
        raise ValueError(f"{path.name}: {length} bytes, and its {rows} x {columns} pixels of {kind} need {needed}")
    return EdfFrame(path, header, (rows, columns), dtype, offset), max(length, needed)


def _write(target: Path, frames: Sequence[EdfFrame], shape: tuple[int, int], dtype: np.dtype[Any]) -> list[str]:
    """Write the frames; give why each is not to be trusted, "" where it is."""
    problems = []
    with writing_frames(target, len(frames), shape, dtype.newbyteorder("=")) as write:
        for place, frame in enumerate(frames):
            problem, pixels = _pixels(frame, shape, dtype)
            problems.append(problem)
            if pixels is not None:
                write(place, pixels)
    return problems


def _pixels(frame: EdfFrame, shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[str, NDArray[Any] | None]:
    if frame.shape != shape or frame.dtype != dtype:
        seen, usual = (f"{rows} x {columns}" for rows, columns in (frame.shape, shape))
        return f"{frame.path.name}: {seen} pixels of {frame.dtype}, expected {usual} of {dtype}", None
    with frame.path.open("rb") as file:
        file.seek(frame.offset)
        data = file.read(math.prod(shape) * dtype.itemsize)
    if len(data) < math.prod(shape) * dtype.itemsize:
        return f"{frame.path.name}: broken off: {len(data)} of {math.prod(shape) * dtype.itemsize} bytes", None
    pixels = np.frombuffer(data, dtype).reshape(shape)
    wrong = int((~np.isfinite(pixels)).sum()) if dtype.kind == "f" else 0
    if wrong:
        return f"{frame.path.name}: {wrong} of its pixels are no numbers", np.where(np.isfinite(pixels), pixels, 0)
    return "", pixels


def _values(
    path: Path, frames: Sequence[EdfFrame], part: str, given: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Give energy, I0 and exposure of the frames, of their headers, or of the scan of a SPEC file."""
    headers = [frame.values for frame in frames]
    names = list(dict.fromkeys(name for header in headers for name in header))
    known = _known(names, given)
    if ENERGY in known and not part:
        columns = {
            what: np.array([_number(header.get(name, "")) for header in headers]) for what, name in known.items()
        }
        return columns, {what: f"header: {name}" for what, name in known.items()}
    labels, numbers, source = _scan_of(path, len(frames), part, problems)
    known = _known(labels, given)
    if ENERGY not in known:
        there = quoted(", ".join(labels) or ", ".join(names), 300)
        raise BeamlineError(f"{path}: no energy of its frames; there are {there}; name it, as by --columns energy=...")
    columns = {what: numbers[:, labels.index(name)] for what, name in known.items()}
    return columns, {what: f"{source}: {name}" for what, name in known.items()}


def _known(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Tell which name is which of energy, I0 and exposure."""
    found = known_columns([name_and_unit(name)[0] for name in names])
    known = {what: names[place] for what, place in found.items() if what in (ENERGY, I0, DWELL)}
    if ENERGY not in known and SETPOINT in found:
        known[ENERGY] = names[found[SETPOINT]]
    exposure = next((name for name in EXPOSURES if name in names), None)
    if exposure is not None:
        known[DWELL] = exposure
    return known | {what: name for what, name in given.items() if what in (ENERGY, I0, DWELL) and name in names}


def _number(text: str) -> float:
    try:
        return number_of(text.split(maxsplit=1)[0]) if text.split() else math.nan
    except ValueError:
        return math.nan


def _scan_of(path: Path, count: int, part: str, problems: list[str]) -> tuple[list[str], FloatArray, str]:
    """Find the scan of the SPEC file beside frames that has a point for each; its labels, numbers and name."""
    folder = path if path.is_dir() else path.parent
    files = [folder / name for name in names_in(folder) if SPEC.recognises(folder / name)]
    if len(files) != 1:
        if part:
            raise BeamlineError(f"{path}: {len(files)} SPEC files beside the frames, expected one")
        return [], np.empty((count, 0)), ""
    fitting = []
    for scan in read_scans(files[0])[1]:
        if part and part.removeprefix("scan ").strip() not in (scan.name, str(scan.number)):
            continue
        try:
            table = read_table(files[0], "\n".join(scan.data))
        except BeamlineError:
            continue
        labels = re.split(r"\s{2,}|\t", scan.said("#L"))
        if len(table.numbers) == count and len(labels) == table.numbers.shape[1]:
            fitting.append((labels, table.numbers, f"{files[0].name} scan {scan.name}", table.problems))
    if len(fitting) != 1:
        asked = f"scan {clean(part)} alone" if part else "one; name it, as FOLDER::12"
        raise BeamlineError(
            f"{files[0]}: {len(fitting)} scans have {count} points, as many as frames, expected {asked}"
        )
    labels, numbers, source, wrong = fitting[0]
    problems += wrong
    return labels, numbers, source


def _times(path: Path, frames: Sequence[EdfFrame], exposure: FloatArray, problems: list[str]) -> list[float]:
    """Give the time of each frame, s since 1970."""
    said = [next((_number(frame.header[name]) for name in TIMES if name in frame.header), math.nan) for frame in frames]
    if all(map(is_time, said)):
        return said
    problems.append("not all headers have a time; that of the file stands for them")
    counted = np.nan_to_num(exposure)
    times: list[float] = (path.stat().st_mtime + np.cumsum(counted) - counted).tolist()
    return times


def _is_edf(path: Path) -> bool:
    if path.is_dir():
        return any(name.lower().endswith(".edf") and _is_edf(path / name) for name in names_in(path))
    head = head_of(path)
    return head.lstrip().startswith(b"{") and b"DataType" in head and b"Dim_1" in head


def _documents(request: Request) -> Documents:
    return edf_documents(request.path, frames_dir=request.frames_dir, part=request.part, columns=request.columns)


EDF = Kind(
    name="edf",
    title="RIXS frames in EDF, one file or a folder, with a SPEC file or headers of the ESRF",
    recognises=_is_edf,
    documents=_documents,
    takes=frozenset({"part", "columns"}),
)
