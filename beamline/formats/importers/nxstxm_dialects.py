"""What the writers of NXstxm files do differently, found by what a file has and not by whose it is.

The definition leaves the names of the data groups, units and order of the axes open, and came after the first files.
What is known of them, from their writers and readers in public:

- Pixelator (PolLux, MAXYMUS, HERMES, Diamond I08): data groups ``Counter0``; before the definition ``scan_type`` with
  "Sample" for whatever was scanned over the sample, axes ``E``, ``Y``, ``X`` or ``photon_energy``, no units.
- pyStxm (CLS SM): ``NX_units`` in place of ``units``; images of the coarse stages over ``coarse_x`` and ``coarse_y``.
- pystxmcontrol (ALS, Nanosurveyor): scan types of its own such as "Image", dwell in ms whatever its unit says, lines
  that were never measured are zeros. From version 2 to 2.1 the data group holds what was measured while the stage
  moved; since 2.1 ``binned_values`` beside it has the counts at the positions that were asked for.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from beamline.formats.importers.hdf5 import Field, Group
from beamline.formats.importers.quantities import number_of
from beamline.formats.text import quoted
from beamline.text import clean

DEFINITION = "NXstxm"
STXM, LINE, FOCUS, POINTS = "stxm", "stxm_line_spectrum", "stxm_focus", "xas"
TECHNIQUES: dict[str, str] = {  # of the definition
    "sample image": STXM,
    "sample image stack": STXM,
    "generic scan": STXM,
    "sample line spectrum": LINE,
    "sample focus": FOCUS,
    "sample point spectrum": POINTS,
}
PYSTXMCONTROL = {"image": STXM, "spiral image": STXM, "line spectrum": LINE, "focus": FOCUS, "line focus": FOCUS}
OTHERS = PYSTXMCONTROL | {
    "coarse image": STXM,
    "coarse image scan": STXM,
    "sample line spectra": LINE,
    "sample point spectra": POINTS,
}
BY_SHAPE = ("", "sample")  # scan types that do not say what was scanned
IN_WORDS = {STXM: "an image", LINE: "a line spectrum", FOCUS: "a focus scan", POINTS: "a point spectrum"}

ENERGY_NAMES = ("energy", "photon_energy", "E")
X_NAMES = ("sample_x", "coarse_x", "X")
Y_NAMES = ("sample_y", "coarse_y", "Y")


def first_of(data: Group, names: tuple[str, ...]) -> str:
    """Return which of the names a data group has first; the first of all if it has none."""
    return next((name for name in names if name in data), names[0])


def signal_of(data: Group) -> Field:
    """Return the signal of a data group; ValueError if there is none."""
    name = data.text_attribute("signal") or "data"
    signal = data.field(name)
    if signal is None:
        raise ValueError(f"{data.label}: no signal {quoted(name)}")
    return signal


def entries_of(file: Group, wanted: str, problems: list[str]) -> list[Group]:
    """List the entries with a STXM scan; ValueError if there is none, or none of the wanted name."""
    found: list[Group] = []
    for entry in file.children("NXentry") or file.children(""):
        try:
            definition = entry.text("definition")
            if definition == DEFINITION:
                found.append(entry)
            elif assumed := _assumed(entry, definition):
                found.append(entry)
                problems.append(assumed)
            elif not wanted:
                problems.append(f"{entry.label}: definition is {quoted(definition)}, not {DEFINITION}; left out")
        except ValueError as error:
            problems.append(f"{error}; left out")
    if not found:
        reasons = f"; {problems[0]}" if problems else ""
        raise ValueError(f"no NXentry with the definition {DEFINITION}{reasons}")
    if not wanted:
        return sorted(found, key=lambda entry: _natural(entry.name))
    for entry in found:
        if entry.name.strip("/") == wanted:
            return [entry]
    names = ", ".join(entry.label.strip("/") for entry in found)
    raise ValueError(f"no entry {wanted!r} of the definition {DEFINITION}; it has {names}")


def holds_scan(file: Group) -> bool:
    """Tell whether a file has an entry with a STXM scan, with the definition or without."""
    try:
        return bool(entries_of(file, "", []))
    except ValueError:
        return False


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which entry10 comes after entry9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _assumed(entry: Group, definition: str) -> str:
    """Say why an entry without the definition is one of it all the same; "" if it is not.

    Files of HERMES can lack it, and versions of pystxmcontrol before 2 have their version in its place.
    """
    if definition and not _is_number(definition):
        return ""
    data = next((group for group in _data_groups(entry) if _is_scan(group)), None)
    if data is None:
        return ""
    kind = f"definition is {quoted(definition)}" if definition else "no definition"
    return f"{entry.label}: {kind}; taken for {DEFINITION}, as {data.label} has counts over energy, x and y"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(number_of(text))
    except ValueError:
        return False


def _is_scan(group: Group) -> bool:
    has_axes = all(first_of(group, names) in group for names in (ENERGY_NAMES, X_NAMES, Y_NAMES))
    return has_axes and (group.text_attribute("signal") or "data") in group


def _data_groups(entry: Group) -> list[Group]:
    """List the data groups of an entry; in one without classes, the groups that hold a scan."""
    return entry.children("NXdata") or [group for group in entry.children("") if _is_scan(group)]


def data_groups(entry: Group) -> dict[str, Group]:
    """Return the data groups of an entry by name; ValueError if it has none."""
    groups = {group.name.rsplit("/", 1)[-1]: group for group in _data_groups(entry)}
    if not groups:
        raise ValueError(f"{entry.label}: no NXdata group")
    return groups


def data_group(entry: Group, wanted: str, problems: list[str]) -> Group:
    """Choose the data group: that of the wanted name, else the default one, else the first with a scan type."""
    groups = data_groups(entry)
    if wanted:
        if wanted not in groups:
            names = ", ".join(map(clean, groups))
            raise ValueError(f"{entry.label}: no NXdata group {wanted!r}; it has {names}")
        return _binned(entry, groups[wanted], problems)
    default = entry.text_attribute("default")
    with_type = [name for name, group in groups.items() if "stxm_scan_type" in group] or list(groups)
    chosen = default if default in with_type else with_type[0]
    others = [clean(name) for name in groups if name != chosen]
    if others:
        problems.append(
            f"{entry.label}: 1 of {len(groups)} NXdata groups is imported, {clean(chosen)};"
            f" left out: {', '.join(others)}"
        )
    return _binned(entry, groups[chosen], problems)


@dataclass(frozen=True)
class BinnedGroup(Group):
    """A data group of pystxmcontrol whose counts and positions are those of another group, binned to the grid."""

    binned: Group

    def get(self, path: str) -> Group | Field | None:
        """Return what lies under a path, of the other group if it is of the grid."""
        return self.binned.get(path) if path in ("data", "sample_x", "sample_y") else super().get(path)


def _binned(entry: Group, data: Group, problems: list[str]) -> Group:
    """Give the data group, with the counts of ``binned_values`` if its own are not on the grid."""
    along_x = data.field("sample_x")
    if along_x is None or along_x.size == max((1, *along_x.shape)):
        return data
    binned = entry.group("binned_values")
    if binned is not None and "data" in binned:
        problems.append(f"{entry.label}: counts are those of binned_values, as {along_x.label} is no list of positions")
        return BinnedGroup(data.name, data.item, data.files, binned)
    if "requested_values" in entry:
        raise ValueError(
            f"{data.label}: counts of where the stage was while it moved, as version 2.0 of pystxmcontrol writes them; "
            "expected those of a grid, as binned_values of later versions"
        )
    return data


def scan_type_of(entry: Group, data: Group) -> str:
    """Return the scan type of an entry as it is written; "" if it has none."""
    places = ((data, "stxm_scan_type"), (entry, "stxm_scan_type"), (data, "scan_type"))
    return next((text for group, name in places if (text := group.text(name))), "")


def is_pystxmcontrol(scan_type: str) -> bool:
    """Tell whether a scan type is one that only pystxmcontrol writes."""
    return scan_type.lower() in PYSTXMCONTROL


def technique_of(entry: Group, data: Group, problems: list[str]) -> str:
    """Return the technique of an entry, by its scan type or else by the shape of its counts.

    Raises
    ------
    ValueError
        When it is a scan of another kind, or neither tells.
    """
    scan_type = scan_type_of(entry, data)
    name = " ".join(scan_type.lower().replace("_", " ").split())
    if scan_type in TECHNIQUES:
        return TECHNIQUES[scan_type]
    label = entry.label.strip("/")
    if technique := (TECHNIQUES | OTHERS).get(name):
        problems.append(f"{entry.label}: stxm_scan_type is {quoted(scan_type)}, taken for {IN_WORDS[technique]}")
        return technique
    if name not in BY_SHAPE:
        raise ValueError(f"{label}: stxm_scan_type is {quoted(scan_type)}, expected one of {', '.join(TECHNIQUES)}")
    signal = signal_of(data)
    technique = _by_shape(data, signal)
    if not technique:
        raise ValueError(
            f"{label}: stxm_scan_type is {quoted(scan_type)}, and shape {signal.shape} of {signal.label} does not tell "
            f"what was scanned; expected one of {', '.join(TECHNIQUES)}"
        )
    problems.append(
        f"{entry.label}: stxm_scan_type is {quoted(scan_type)}, taken for {IN_WORDS[technique]} by the shape "
        f"{signal.shape} of {signal.label}"
    )
    return technique


def _by_shape(data: Group, signal: Field) -> str:
    sizes = [0 if (field := data.field(first_of(data, names))) is None else field.size for names in _AXES]
    energies, columns, rows = sizes
    if signal.size == energies * rows * columns:
        if rows > 1 and columns > 1:
            return STXM
        return LINE if max(rows, columns) > 1 else POINTS
    return LINE if rows == columns > 1 and signal.size == energies * columns else ""


_AXES = (ENERGY_NAMES, X_NAMES, Y_NAMES)
