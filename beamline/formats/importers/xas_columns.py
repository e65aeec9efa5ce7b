"""Make an absorption spectrum of the columns of a table: which is what, in which unit, and how uncertain."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.constants import c, e, h

from beamline.formats.channel_fields import channel_said
from beamline.formats.importers.column_names import (
    ANGLE,
    DWELL,
    ENERGY,
    I0,
    MU,
    NAME,
    OVER_I0,
    REFERENCE,
    RING,
    SETPOINT,
    SIGMA,
    TEY,
    TFY,
    TRANSMISSION,
)
from beamline.formats.importers.quantities import (
    CURRENT,
    ENERGIES,
    RATE,
    TIME,
    check_range,
    factor,
    normalised,
)
from beamline.formats.importers.quantities import ENERGY as ENERGY_UNITS
from beamline.formats.importers.xas_run import Measured, XasScan
from beamline.formats.text import quoted
from callbacks.contract import Channel, Key
from callbacks.xas.scatter import scatter_of

FloatArray = NDArray[np.floating]

HC = h * c / e * 1e10  # eV angstrom
LOWEST_EDGE = 20.0  # eV: no edge of an inner shell is below it, Li K at 55 eV is the lowest that is measured as one
TITLES = {
    I0: "incident flux",
    TRANSMISSION: "transmitted flux",
    REFERENCE: "behind the reference",
    TEY: "total electron yield",
    TFY: "total fluorescence yield",
    MU: "absorption",
}
PLACES = (ENERGY, SETPOINT, ANGLE, DWELL, RING)  # what is no channel
SHOWN_ENERGIES = 3
ANGLES = {
    **dict.fromkeys(("", "deg", "degree", "degrees", "\u00b0"), math.pi / 180),
    **dict.fromkeys(("rad", "radian", "radians"), 1.0),
}
# An absorption that a file has beside what it is made of, by the name of the latter. Files print them with five digits.
MADE_OF = {"mutrans": TRANSMISSION, "mufluor": TFY, MU: TRANSMISSION}
SAME = 1e-4
COUNTS = "{}: whole numbers, taken as counts, whose variance is their number"
# Relative, of energies a spectrum is over: two orders below the narrowest lines, above the noise of a readback.
LEAST_SPAN = 1e-5
LARGEST = 1e60  # of what anything can have been measured as
WHOLE = 1e-9  # of a count; of numbers that were printed and read again


@dataclass(frozen=True)
class Column:
    """A column of a table; `unit` is empty where none is given."""

    name: str
    unit: str
    values: FloatArray


def said_channels(what: Iterable[str], fields: Mapping[str, str]) -> dict[str, Channel]:
    """Give what a header says of channels, as files that this program exported do, by the name of each.

    Parameters
    ----------
    what : iterable of str
        What the columns are; see `beamline.formats.importers.column_names`.
    fields : mapping of str to str
        See `beamline.formats.channel_fields.channel_said`.
    """
    names = {name.removesuffix(OVER_I0) for name in what}
    found = {name: channel_said(name, fields, TITLES.get(name, name)) for name in names}
    return {name: channel for name, channel in found.items() if channel is not None}


def said_columns(names: Sequence[str], fields: Mapping[str, str]) -> dict[str, int]:
    """Find the columns that have the name of a channel of which the header says what it is, and their uncertainties.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    fields : mapping of str to str
        See `beamline.formats.channel_fields.channel_said`.

    Returns
    -------
    dict of str to int
        Index of a column by what it is; see `beamline.formats.importers.column_names`.
    """
    channels = [
        name
        for name in names
        if NAME.fullmatch(name) and (name in TITLES or name not in set(Key)) and channel_said(name, fields, name)
    ]
    wanted = {*channels, *(name + SIGMA for name in channels)} - {I0, I0 + SIGMA}
    return {name: place for place, name in enumerate(names) if name in wanted}


def scan_of_columns(
    columns: Sequence[Column],
    what: Mapping[str, int],
    problems: list[str],
    *,
    d_spacing: float = math.nan,
    forms: Mapping[str, Channel] | None = None,
    times: FloatArray | None = None,
) -> XasScan:
    """Make a spectrum of columns.

    Parameters
    ----------
    columns : sequence of Column
    what : mapping of str to int
        Index of a column by what it is; see `beamline.formats.importers.column_names`. Others are carried along.
    problems : list of str
        Receives a line for each thing that is wrong or had to be assumed.
    d_spacing : float
        Angstrom, of the monochromator's crystal, where its angle is given instead of the energy.
    forms : mapping of str to Channel, optional
        What channels are, where their names do not say it.
    times : numpy.ndarray, shape (n,), optional
        s since 1970.

    Raises
    ------
    ValueError
        When there is no energy, nothing beside it, what is not an energy, or an uncertainty below zero; in one line.
    """
    columns = [_measurable(one, problems) for one in columns]
    energy = _energy(columns, what, d_spacing, problems)
    known = np.isfinite(energy)
    if not known.any():
        raise ValueError("no energy is a number")
    if not known.all():
        problems.append(f"{(~known).sum()} of {len(known)} points have no energy; left out")
    check_range("energy", energy[known], ENERGIES, "eV")
    columns = [Column(one.name, one.unit, one.values[known]) for one in columns]
    energy, times = energy[known], None if times is None else times[known]
    problems += _order(energy)
    places = _with_known_sigmas({name: columns[index] for name, index in what.items()}, energy, problems)
    dwell = _in_unit(places.get(DWELL), TIME, "s", problems)
    channels = _channels(_Table(columns, places, energy, dwell, problems), forms or {})
    if (span := float(np.ptp(energy))) < LEAST_SPAN * float(energy.max()):
        raise ValueError(f"the energy stands at {energy[0]:g} eV, within {span:.2g} eV: no spectrum is over it")
    setpoint = None
    if SETPOINT in places:
        setpoint = places[SETPOINT].values * _energy_factor(places[SETPOINT], problems)
        setpoint = np.where(np.isfinite(setpoint), setpoint, energy)
    taken = set(what.values())
    left = [one for index, one in enumerate(columns) if index not in taken]
    keys = {str(key) for key in Key} | {one.channel.name for one in channels}
    if left:
        names = ", ".join(quoted(one.name or "without a name") for one in left[:10])
        more = f" and {len(left) - 10} more" if len(left) > 10 else ""
        problems.append(f"columns that are no channel, carried along: {names}{more}")
    return XasScan(
        energy,
        channels,
        setpoint=setpoint,
        dwell=dwell,
        ring_current=_in_unit(places.get(RING), CURRENT, "mA", problems),
        times=times,
        others=_others(left, keys),
    )


def _measurable(column: Column, problems: list[str]) -> Column:
    """Leave out what no instrument can have measured, whose squares could not be computed with."""
    with np.errstate(invalid="ignore"):
        beyond = np.abs(column.values) > LARGEST
    if not beyond.any():
        return column
    problems.append(f"{column.name}: {beyond.sum()} values are beyond {LARGEST:g}; they count as not measured")
    return Column(column.name, column.unit, np.where(beyond, np.nan, column.values))


def _with_known_sigmas(places: Mapping[str, Column], energy: FloatArray, problems: list[str]) -> dict[str, Column]:
    """Leave out columns of uncertainties that have none, as programs write zeros; `ValueError` for one below zero."""
    kept = {}
    for name, column in places.items():
        if name.endswith(SIGMA):
            if (below := np.flatnonzero(column.values < 0)).size:
                raise ValueError(
                    f"{column.name}: {len(below)} of {len(column.values)} uncertainties are below zero, the first"
                    f" {column.values[below[0]]:g} at {energy[below[0]]:g} eV; expected standard uncertainties"
                )
            if not (column.values > 0).any():
                own = name.removesuffix(SIGMA)
                problems.append(
                    f"{column.name}: no value is above zero; the uncertainty of {own} is taken as not known"
                )
                continue
        kept[name] = _without_zeros(column, energy, problems) if name.endswith(SIGMA) else column
    return kept


def _without_zeros(sigma: Column, energy: FloatArray, problems: list[str]) -> Column:
    """Put the median of uncertainties above zero in place of zeros: no point is measured without one."""
    zero = np.flatnonzero(sigma.values == 0)
    if not zero.size:
        return sigma
    median = float(np.median(sigma.values[sigma.values > 0]))
    problems.append(
        f"{sigma.name}: {len(zero)} of {len(sigma.values)} uncertainties are 0, the first at {energy[zero[0]]:g} eV;"
        f" the median of the others, {median:g}, stands for them"
    )
    return Column(sigma.name, sigma.unit, np.where(sigma.values == 0, median, sigma.values))


def _energy(columns: Sequence[Column], what: Mapping[str, int], d_spacing: float, problems: list[str]) -> FloatArray:
    """Give the energies, eV."""
    if ENERGY in what:
        column = columns[what[ENERGY]]
        return column.values * _energy_factor(column, problems)
    if SETPOINT in what:
        column = columns[what[SETPOINT]]
        problems.append(f"energies are those asked for, {quoted(column.name)}; none are read back")
        return column.values * _energy_factor(column, problems)
    if ANGLE not in what:
        names = ", ".join(one.name or "?" for one in columns)
        raise ValueError(f"no column is an energy; they are {quoted(names, 300)}; name them by --columns energy=...")
    column = columns[what[ANGLE]]
    unit = normalised(column.unit)
    if unit not in ANGLES:
        problems.append(f"{column.name}: unit {quoted(column.unit)} is not one of an angle: taken as degrees")
    if not d_spacing > 0:
        raise ValueError(f"{column.name}: an angle, and no d-spacing of the monochromator to make an energy of it")
    with np.errstate(all="ignore"):
        energy = HC / (2 * d_spacing * np.sin(column.values * ANGLES.get(unit, ANGLES["deg"])))
    problems.append(f"energies are made of the angle {quoted(column.name)} with the d-spacing {d_spacing:g} angstrom")
    return np.where(energy > 0, energy, np.nan)


def _energy_factor(column: Column, problems: list[str]) -> float:
    """Give what makes eV of a column."""
    if column.unit:
        return factor(column.unit, ENERGY_UNITS)
    finite = column.values[np.isfinite(column.values)]
    if finite.size and 0 < finite.max() < LOWEST_EDGE:
        problems.append(
            f"energies have no unit and are at most {finite.max():g}: taken as keV, as there is no edge of so few eV"
        )
        return 1e3
    problems.append("energies have no unit: taken as eV")
    return 1.0


def _in_unit(column: Column | None, units: Mapping[str, float], unit: str, problems: list[str]) -> FloatArray | None:
    """Give a column in the unit of the contract; one whose unit is not known is left out."""
    if column is None:
        return None
    try:
        return column.values * (factor(column.unit, units) if column.unit else 1.0)
    except ValueError as error:
        problems.append(f"{column.name}: {error}; left out")
        return None
    finally:
        if not column.unit:
            problems.append(f"{column.name} has no unit: taken as {unit}")


def _order(energy: FloatArray) -> list[str]:
    """Say where energies do not ascend, or occur more than once."""
    found = []
    steps = np.diff(energy)
    if (steps < 0).any() and not (steps > 0).any():
        found.append("the energies descend; the run keeps their order, its reduction sorts them")
    elif (steps < 0).any():
        found.append(
            f"the energies do not ascend at {(steps < 0).sum()} of {len(steps)} steps; the run keeps the order of the"
            " file, its reduction sorts them"
        )
    values, counts = np.unique(energy, return_counts=True)
    if (counts > 1).any():
        shown = ", ".join(f"{one:g}" for one in values[counts > 1][:SHOWN_ENERGIES])
        more = "" if (counts > 1).sum() <= SHOWN_ENERGIES else ", ..."
        found.append(f"{(counts > 1).sum()} energies occur more than once ({shown}{more} eV); they are added up")
    return found


@dataclass(frozen=True)
class _Table:
    """The columns, those by what they are, the energies (eV), the dwell (s), and what is wrong or had to be assumed."""

    columns: Sequence[Column]
    places: dict[str, Column]
    energy: FloatArray
    dwell: FloatArray | None
    problems: list[str]


def _channels(table: _Table, forms: Mapping[str, Channel]) -> list[Measured]:
    """Give the channels with their uncertainties, I0 first."""
    places, problems = table.places, table.problems
    names = [name for name in places if name not in PLACES and not name.endswith(SIGMA)]
    ready = {name.removesuffix(OVER_I0): name for name in names if name.endswith(OVER_I0)}
    if ready:
        problems.append(f"{', '.join(sorted(ready))}: taken over I0, as in the file; what was made of it is left out")
        through = [name for name in ready if _is_transmission(name, forms)]
        places.update(_absorbances([ready[name] for name in through], table))
    names = [name for name in names if name not in ready and not _is_made_of(name, table)]
    if empty := [name for name in names if not np.isfinite(places[name].values).any()]:
        problems.append(f"{', '.join(quoted(places[name].name) for name in empty)}: no value is a number; left out")
        names = [name for name in names if name not in empty]
    if all(name == I0 for name in names):
        there = quoted(", ".join(one.name or "?" for one in table.columns), 300)
        raise ValueError(f"no column is a spectrum; they are {there}; name one by --columns, as tey=3 or mu=2")
    i0 = _i0(table)
    below = {I0: i0}
    over = {name: one.over for name, one in forms.items() if one.over}
    for name in sorted((one for one in names if one != I0), key=lambda one: one == REFERENCE or one in over):
        if name in over and over[name] not in below:
            problems.append(f"{name}: over {quoted(over[name])}, says the header, which is no channel; it is not used")
        channel = _channel_of(name, below, forms, has_i0=I0 in places)
        below[channel.name] = _measured(name, channel, below[channel.over or I0], table)
    return list(below.values())


def _is_transmission(name: str, forms: Mapping[str, Channel]) -> bool:
    """Tell whether a channel is light that was let through: as it is said, or by its name."""
    return forms[name].form == "transmission" if name in forms else name in (TRANSMISSION, REFERENCE)


def _absorbances(names: Sequence[str], table: _Table) -> dict[str, Column]:
    """Give the negative logarithms of what was transmitted, over I0, with their uncertainties where they are given."""
    found = {}
    for name in names:
        column = table.places[name]
        with np.errstate(all="ignore"):
            ratio = np.where(column.values > 0, column.values, np.nan)
            found[name] = Column(column.name, "", -np.log(ratio))
            if name + SIGMA in table.places:
                sigma = table.places[name + SIGMA]
                found[name + SIGMA] = Column(sigma.name, "", sigma.values / ratio)
        table.problems.append(f"{column.name}: transmitted light over I0; its negative logarithm is taken")
    return found


def _is_made_of(name: str, table: _Table) -> bool:
    """Tell whether an absorption is made of other columns that are there, which stand for it; say where it is not."""
    places, problems = table.places, table.problems
    if name not in MADE_OF or I0 not in places or MADE_OF[name] not in places:
        return False
    above, below, own = places[MADE_OF[name]], places[I0], places[name]
    with np.errstate(all="ignore"):
        ratio = above.values / below.values
        made = -np.log(ratio) if MADE_OF[name] == TRANSMISSION else ratio
    known = np.isfinite(made) & np.isfinite(own.values)
    formula = f"ln({below.name}/{above.name})" if MADE_OF[name] == TRANSMISSION else f"{above.name}/{below.name}"
    if not known.any():
        return False
    away = float(np.abs(made - own.values)[known].max())
    if away <= SAME * float(np.ptp(made[known])) or away <= SAME * float(np.abs(made[known]).max()):
        problems.append(f"{own.name}: is {formula}; these stand for it")
        return True
    problems.append(f"{own.name}: is not {formula}, from which it differs by up to {away:.3g}; both are kept")
    return False


def _i0(table: _Table) -> Measured:
    """Give the incident flux."""
    channel = Channel(name=str(Key.I0), title=TITLES[I0], form="monitor")
    column, sigma = table.places.get(I0), table.places.get(I0 + SIGMA)
    if column is None:
        table.problems.append("no I0: it is 1 in the run, and what the file has is taken to be divided by it already")
        return Measured(channel, np.ones(len(table.energy)), np.zeros(len(table.energy)))
    if sigma is not None:
        return Measured(channel, column.values, sigma.values, column.unit, column.name)
    if _are_counts(column):
        table.problems.append(COUNTS.format(column.name))
        return Measured(channel, column.values, None, "counts", column.name)
    table.problems.append(f"{column.name}: no counts; its noise is part of that of what is divided by it")
    return Measured(channel, column.values, np.zeros(len(column.values)), column.unit, column.name)


def _channel_of(name: str, below: Mapping[str, Measured], forms: Mapping[str, Channel], *, has_i0: bool) -> Channel:
    """Say what a channel is: as it is said, or by its name."""
    said = forms.get(name)
    if said is not None and (not said.over or said.over in below):
        return said
    plain = name.removesuffix(OVER_I0)
    title = TITLES.get(plain, plain)
    if name.endswith(OVER_I0) or plain == MU or not has_i0:
        return Channel(name=plain, title=title, form="absorption")
    if plain == REFERENCE and TRANSMISSION in below:
        return Channel(name=plain, title=title, form="transmission", over=TRANSMISSION)
    return Channel(name=plain, title=title, form="transmission" if plain in (TRANSMISSION, REFERENCE) else "yield")


def _measured(name: str, channel: Channel, over: Measured, table: _Table) -> Measured:
    """Give a channel with its uncertainty: its own, that of counts, or that of its scatter."""
    column, sigma = table.places[name], table.places.get(name + SIGMA)
    values, problems = column.values, table.problems
    ready = channel.form == "absorption"
    if (negative := int((values < 0).sum())) and not ready:
        problems.append(f"{column.name}: {negative} of {len(values)} values are negative; kept as they are")
    if missing := int(np.isnan(values).sum()):
        problems.append(f"{column.name}: {missing} of {len(values)} values are no numbers: not measured")
    if sigma is not None:
        return Measured(channel, values, sigma.values, column.unit, column.name)
    if not ready and normalised(column.unit) in RATE and table.dwell is not None:
        problems.append(f"{column.name}: counts a second; their variance is the number counted in the dwell")
        counted = np.sqrt(np.maximum(values * table.dwell, 1.0)) / table.dwell
        return Measured(channel.model_copy(update={"is_rate": True}), values, counted, column.unit, column.name)
    if channel.name != MU and _are_counts(column) and (ready or over.sigma is None):
        problems.append(COUNTS.format(column.name))
        return Measured(channel, values, np.sqrt(np.maximum(values, 1.0)) if ready else None, "counts", column.name)
    return Measured(channel, values, _scatter(column, channel, over, table), column.unit, column.name)


def _scatter(column: Column, channel: Channel, over: Measured, table: _Table) -> FloatArray:
    """Give the standard uncertainty by the scatter of the points, less what is known of what is divided by."""
    values, below = column.values, over.source or over.channel.name
    seen: FloatArray
    scale: FloatArray
    known: FloatArray
    with np.errstate(all="ignore"):
        if channel.form == "absorption":
            seen, what = values, column.name
            scale, known = np.ones(len(values)), np.zeros(len(values))
        else:
            ratio = np.where(over.values > 0, values / over.values, np.nan)
            relative = (over.values if over.sigma is None else over.sigma**2) / over.values**2
            if channel.form == "transmission":
                seen, what = np.log(np.where(ratio > 0, ratio, np.nan)), f"ln({below}/{column.name})"
                scale, known = np.abs(values), relative
            else:
                seen, what = ratio, f"{column.name}/{below}"
                scale, known = over.values, ratio**2 * relative
        sigma, reason = scatter_of(table.energy, seen)
        if reason:
            table.problems.append(f"{column.name}: no uncertainty is given, and none can be told: {reason}")
            return np.full(len(values), math.nan)
        size: FloatArray = scale * np.sqrt(np.maximum(sigma**2 - known, 0.0))
        if _are_counts(column) and channel.form != "absorption":
            size = np.fmax(size, np.sqrt(np.maximum(values, 1.0)))
    table.problems.append(
        f"{column.name}: no uncertainty is given; the scatter of {what} about cubics through four neighbours,"
        f" {sigma:.3g}, is taken for every point"
    )
    return size


def _are_counts(column: Column) -> bool:
    """Tell whether a column has counts: numbers that are whole, not negative, and not all 0 or 1, of no other unit."""
    if normalised(column.unit) not in ("", "1", "count", "counts"):
        return False
    finite = column.values[np.isfinite(column.values)]
    return bool(
        finite.size and finite.min() >= 0 and finite.max() > 1 and np.all(np.abs(finite - np.rint(finite)) <= WHOLE)
    )


def _others(left: Sequence[Column], taken: set[str]) -> dict[str, FloatArray]:
    """Give columns by data keys that nothing else has."""
    found: dict[str, FloatArray] = {}
    for place, one in enumerate(left, start=1):
        key = re.sub(r"\W+", "_", one.name.lower()).strip("_") or "column"
        while key in taken or key.removesuffix(SIGMA) in taken or key in found:
            key = f"{key}_{place}"
        found[key] = one.values
    return found
