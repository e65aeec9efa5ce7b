"""Outputs and results of the steps of an absorption spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Self, cast

from pydantic import Field

from callbacks.contract.flown import FlownResult
from callbacks.contract.outputs import (
    NAN,
    NO_TEXTS,
    NOT_KNOWN_1D,
    NOT_KNOWN_2D,
    Account,
    Described,
    Floats,
    Marks,
    Output,
    Result,
    Texts,
)


class XasOutput(Output):
    """What the steps of an absorption spectrum give for each point, beside what they give for each channel."""

    POINT_MARK = "point_mark", "string", "", "why the point is not to be trusted as the others are"


def ratio_outputs(channel: str) -> tuple[Output, Output]:
    """Give the outputs of a channel's counts over I0 at a point, and of their standard uncertainty."""
    key = f"{channel}_over_i0"
    return _output(key, f"{channel} over I0"), _output(f"{key}_sigma", "its standard uncertainty")


def counts_outputs(channel: str) -> tuple[Output, Output]:
    """Give the outputs of a channel that is made from what a detector measured, and of its standard uncertainty."""
    return _output(channel, channel), _output(f"{channel}_sigma", "its standard uncertainty")


def relative_error(channel: str) -> Output:
    """Give the output that says how well a channel over I0 is known at an energy: sigma over value, of all points."""
    return _output(f"{channel}_relative_error", "sigma over value, of all points at this energy so far")


def _output(key: str, meaning: str) -> Output:
    made: type[Output] = cast("Any", Output)("ChannelOutput", {"VALUE": (key, "number", "", meaning)})
    return next(iter(made))


class ChannelSpectrum(Result):
    """The spectrum of one channel, by ascending energy; in documents each name has the channel's in front.

    Normalised: background subtracted, edge jump 1. What is normalised is the ratio to I0, of a transmission its
    negative logarithm.
    """

    normalised: Annotated[Floats, Described("normalised absorption", "", ("energies",))] = NOT_KNOWN_1D
    sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",), of="normalised")] = NOT_KNOWN_1D
    status: Annotated[str, Described("ok, or why it is not normalised")] = ""
    edge_jump: Annotated[float, Described("edge jump of what is normalised")] = NAN
    edge_jump_sigma: Annotated[float, Described("its standard uncertainty")] = NAN
    over_i0_spectrum: Annotated[Floats, Described("counts over I0", "", ("energies",))] = NOT_KNOWN_1D
    over_i0_spectrum_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = NOT_KNOWN_1D
    # Of two polarisations only; what stands above is then of their mean.
    polarised: Annotated[
        Floats, Described("counts over I0, of each polarisation", "", ("polarisations", "energies"))
    ] = NOT_KNOWN_2D
    polarised_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("polarisations", "energies"))] = (
        NOT_KNOWN_2D
    )
    dichroism: Annotated[
        Floats, Described("first polarisation less the second, of the edge jump", "", ("energies",))
    ] = NOT_KNOWN_1D
    dichroism_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = NOT_KNOWN_1D
    dichroism_per_degree: Annotated[
        Floats, Described("the same over the degree of circular polarisation", "", ("energies",))
    ] = NOT_KNOWN_1D
    dichroism_per_degree_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = (
        NOT_KNOWN_1D
    )
    dichroism_status: Annotated[str, Described("ok, or why there is none")] = ""
    matched_by: Annotated[
        float, Described("what the second was multiplied by, to agree before the edge; to a density it is added")
    ] = NAN
    matched_by_sigma: Annotated[float, Described("its standard uncertainty")] = NAN


class XasResult(Account, Marks, FlownResult):
    """The spectra, by ascending energy, of each channel by its name."""

    xas_energy: Annotated[Floats, Described("energy, as read or calibrated", "eV", ("energies",), is_axis=True)] = (
        NOT_KNOWN_1D
    )
    energy_offset: Annotated[float, Described("added to the energy, as calibrated; NaN: it is not", "eV")] = NAN
    energy_offset_sigma: Annotated[float, Described("its standard uncertainty", "eV")] = NAN
    energy_calibration: Annotated[str, Described("by what, and whether that is long ago")] = ""
    i0_counts: Annotated[Floats, Described("I0, added up where it is not lost", "counts", ("energies",))] = NOT_KNOWN_1D
    channels: Annotated[Texts, Described("names of the channels", "", ("channels",), is_axis=True)] = NO_TEXTS
    polarisations: Annotated[
        Texts, Described("the two of a dichroism; none otherwise", "", ("polarisations",), is_axis=True)
    ] = NO_TEXTS
    spectra: dict[str, ChannelSpectrum] = Field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read the result; runs that were reduced before channels had names have TEY and TFY."""
        found = super().read(values)
        names = [str(name) for name in found.channels] or [name for name in ("tey", "tfy") if name in values]
        spectra = {name: ChannelSpectrum.read(_of_channel(values, name)) for name in names}
        return found.model_copy(update={"spectra": spectra})

    def as_dict(self) -> dict[str, Any]:
        """Give the fields that the step knows, those of the spectra by the names of their channels."""
        own = super().as_dict()
        own.pop("spectra", None)
        for name, spectrum in self.spectra.items():
            own |= {_key(name, field): value for field, value in spectrum.as_dict().items()}
        return own

    @classmethod
    def describe(cls) -> dict[str, Described]:
        """Give meaning, unit and axes of every field, but of the spectra, which have neither unit nor fixed names."""
        return {
            name: next(each for each in field.metadata if isinstance(each, Described))
            for name, field in cls.model_fields.items()
            if name != "spectra"
        }

    def described(self) -> dict[str, Described]:
        """Give meaning, unit and axes of what `as_dict` gives, the fields of the spectra by the names of channels."""
        found = self.describe()
        for channel in self.spectra:
            for field, one in ChannelSpectrum.describe().items():
                of_another = one.meaning.startswith("its ")
                found[_key(channel, field)] = replace(
                    one,
                    meaning=one.meaning if of_another else f"{channel.upper()}: {one.meaning}",
                    of=_key(channel, one.of) if one.of else "",
                )
        return found


def channel_keys(channel: str) -> Iterable[str]:
    """Give the names that the results of a channel have in documents."""
    return [_key(channel, field) for field in ChannelSpectrum.model_fields]


def _key(channel: str, field: str) -> str:
    return channel if field == "normalised" else f"{channel}_{field}"


def _of_channel(values: Mapping[str, Any], channel: str) -> dict[str, Any]:
    return {
        field: values[_key(channel, field)] for field in ChannelSpectrum.model_fields if _key(channel, field) in values
    }
