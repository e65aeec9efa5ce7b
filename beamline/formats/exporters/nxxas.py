"""Write an absorption spectrum to a file of the NeXus application definition NXxas, with one entry for each channel.

The definition (https://manual.nexusformat.org/classes/applications/NXxas.html) has the counts of one detector against
the incident flux at each point; a spectrum with several channels is as many of its entries. Beside what it asks for,
each entry has the normalised spectrum of the reduction, which viewers show, and the first entry the documents of the
run, from which it is read again as it was.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.exporters.nexus import (
    iso_time,
    make_group,
    new_file,
    write_dataset,
    write_document,
    write_documents,
    write_process,
    write_signal,
    write_text,
)
from beamline.formats.text import safe_name
from beamline.storage import Documents, Run, Table, collect
from callbacks.contract import UNITS, Channel, ChannelSpectrum, Key, Measurement, Stream, XasResult
from callbacks.xas import channels_of

FloatArray = NDArray[np.floating]

MODES = {  # of the definition, by what a channel is called
    r"tey|total electron|drain": "Total Electron Yield",
    r"pey|partial electron": "Partial Electron Yield",
    r"auger": "Auger Electron Yield",
    r"tfy|pfy|ipfy|fluor": "Fluorescence Yield",
}
TRANSMISSION = "Transmission"


def write_nxxas(path: Path, raw_documents: Documents, derived: Run | None) -> None:
    """Write a spectrum to one file.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if necessary. An existing file is replaced once the new one is complete.
    raw_documents : iterable of (name, document)
        The raw run.
    derived : Run or None
        The run derived from it: which channel is I0, and the spectra.

    Raises
    ------
    BeamlineError
        When it was flown, so that there is no count at a point; when no point was measured; or when it has no I0 beside
        a channel, or no channel of which the definition has the kind.
    OSError
        When the file cannot be written.
    """
    documents = list(raw_documents)
    raw = collect(documents)
    points, i0 = counted_points(raw, derived, "NXxas")
    channels = [
        each for each in _channels(raw.measurement) if each.name != i0 and each.name in points and mode_of(each)
    ]
    if not channels:
        raise BeamlineError(f"run {raw.uid} has no channel of a kind that NXxas knows; expected nexus or columns")
    spectra = {} if derived is None else derived.read(XasResult).spectra
    with new_file(path) as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = safe_name(channels[0].name)
        for channel in channels:
            entry = make_group(file, safe_name(channel.name), "NXentry")
            _write_entry(entry, raw, points, channel, i0)
            if derived is not None and channel.name in spectra:
                _write_spectrum(entry, derived, spectra[channel.name])
        first = file[file.attrs["default"]]
        write_document(first, "start_document", raw.start)
        if raw.stop:
            write_document(first, "stop_document", raw.stop)
        write_documents(first, documents)


def counted_points(raw: Run, derived: Run | None, form: str) -> tuple[Table, str]:
    """Give the points of a spectrum, and the name of its I0, for a format that has counts at points.

    Parameters
    ----------
    raw : Run
    derived : Run or None
        Whose settings say which channel is I0.
    form : str
        Of the file, for the message.

    Raises
    ------
    BeamlineError
        When it was flown, so that there is no count at a point; or when no point, or no I0, was measured.
    """
    if raw.measurement.flown is not None:
        raise BeamlineError(
            f"run {raw.uid} was flown: {form} has counts at points, which it has none of; expected nexus or columns"
        )
    points = raw.streams.get(Stream.PRIMARY)
    i0 = str(Key.I0) if derived is None else str(derived.settings.get("xas", {}).get("i0", Key.I0))
    if points is None or i0 not in points:
        what = "no point" if points is None else f"no incident flux {i0!r}"
        raise BeamlineError(f"run {raw.uid} has {what}, which {form} asks for; expected nexus or columns")
    return points, i0


def _channels(measurement: Measurement) -> list[Channel]:
    return [each for each in channels_of(measurement) if each.form in ("yield", "transmission")]


def mode_of(channel: Channel) -> str:
    """Return how a channel observes the absorption, in the words of the definition; "" if it has none for it."""
    if channel.form == "transmission":
        return TRANSMISSION
    called = f"{channel.name} {channel.title}".lower()
    return next((mode for pattern, mode in MODES.items() if re.search(pattern, called)), "")


def _write_entry(entry: h5py.Group, raw: Run, points: Table, channel: Channel, i0: str) -> None:
    """Write what the definition asks for: energy, incident flux and counts, in the order of measurement."""
    measurement = raw.measurement
    write_text(entry, "title", f"XAS of {measurement.sample}, {channel.title or channel.name}")
    entry["definition"] = "NXxas"
    entry["start_time"] = iso_time(raw.start["time"])
    if raw.stop:
        entry["end_time"] = iso_time(raw.stop["time"])
    write_text(entry, "entry_identifier_uuid", raw.uid)
    write_text(make_group(entry, "sample", "NXsample"), "name", measurement.sample)
    instrument = make_group(entry, "instrument", "NXinstrument")
    source = make_group(instrument, "source", "NXsource")
    source["type"] = "Synchrotron X-ray Source"
    write_text(source, "name", str(raw.start.get("endstation", "not recorded")))
    source["probe"] = "x-ray"
    monochromator = make_group(instrument, "monochromator", "NXmonochromator")
    write_dataset(monochromator, "energy", _numbers(points, Key.ENERGY), "eV", "photon energy, read back")
    counts = _numbers(points, channel.name)
    incoming = make_group(instrument, "incoming_beam", "NXdetector")
    write_dataset(incoming, "data", _numbers(points, i0), points.units.get(i0, ""), "incident flux")
    absorbed = make_group(instrument, "absorbed_beam", "NXdetector")
    write_text(absorbed, "local_name", channel.name)
    write_dataset(absorbed, "data", counts, points.units.get(channel.name, ""), channel.title or channel.name)
    dwell = _numbers(points, Key.DWELL) if Key.DWELL in points else np.full(len(points), np.nan)
    for detector in (incoming, absorbed):
        write_dataset(detector, "count_time", dwell, UNITS[Key.DWELL], "dwell")
    monitor = make_group(entry, "monitor", "NXmonitor")
    monitor["mode"] = "timer"
    write_dataset(monitor, "preset", float(measurement.exposure_time), UNITS[Key.DWELL], "dwell that was asked for")
    monitor["data"] = incoming["data"]
    data = make_group(entry, "data", "NXdata")
    data.attrs["signal"] = "absorbed_beam"
    data.attrs["axes"] = ["energy"]
    data["mode"] = mode_of(channel)
    for name, dataset in (("energy", monochromator["energy"]), ("absorbed_beam", absorbed["data"])):
        dataset.attrs["target"] = dataset.name
        data[name] = dataset
    sigma = _sigma(points, channel, counts)
    write_dataset(
        data, "absorbed_beam_errors", sigma, points.units.get(channel.name, ""), "standard uncertainty (68 %)"
    )
    entry.attrs["default"] = "data"


def _numbers(points: Table, key: str) -> FloatArray:
    return np.asarray(points[key], dtype=float)


def _sigma(points: Table, channel: Channel, counts: FloatArray) -> FloatArray:
    """Return the standard uncertainty: as recorded, of counts the root of their number, else NaN."""
    recorded = f"{channel.name}_sigma"
    if recorded in points:
        return _numbers(points, recorded)
    return np.full_like(counts, np.nan) if channel.is_rate else np.sqrt(np.maximum(counts, 1.0))


def _write_spectrum(entry: h5py.Group, derived: Run, spectrum: ChannelSpectrum) -> None:
    """Write the spectrum of the reduction, by ascending energy: normalised, or over I0 where that was not found.

    It is in the group of the reduction, as the definition has a single NXdata in the entry.
    """
    energy: Any = derived.read(XasResult).xas_energy
    process = write_process(entry, derived)
    plots = {
        "normalised": (spectrum.normalised, spectrum.sigma, "normalised absorption"),
        "over_i0": (spectrum.over_i0_spectrum, spectrum.over_i0_spectrum_sigma, "counts over I0"),
    }
    for name, (values, sigma, label) in plots.items():
        if len(values) != len(energy) or not np.isfinite(values).any():
            continue
        data = make_group(process, name, "NXdata")
        write_signal(data, name, values, sigma=sigma, axes=["energy"], units="")
        data[name].attrs["long_name"] = label
        write_dataset(data, "energy", energy, "eV", "photon energy")
        if "default" not in process.attrs:
            process.attrs["default"] = name
        entry.attrs["default"] = process.name.rsplit("/", 1)[-1]
