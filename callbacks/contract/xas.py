"""Outputs and results of the steps of an absorption spectrum."""

from __future__ import annotations

from typing import Annotated

from callbacks.contract.outputs import NAN, NOT_KNOWN_1D, Account, Described, Floats, Marks, Output


class XasOutput(Output):
    """What the steps of an absorption spectrum give for each point."""

    TEY_OVER_I0 = "tey_over_i0", "number", "", "total electron yield over I0"
    TEY_OVER_I0_SIGMA = "tey_over_i0_sigma", "number", "", "its standard uncertainty"
    TFY_OVER_I0 = "tfy_over_i0", "number", "", "total fluorescence yield over I0"
    TFY_OVER_I0_SIGMA = "tfy_over_i0_sigma", "number", "", "its standard uncertainty"
    TEY_RELATIVE_ERROR = (
        "tey_relative_error",
        "number",
        "",
        "sigma over value, of all points at this energy so far",
    )
    TFY_RELATIVE_ERROR = (
        "tfy_relative_error",
        "number",
        "",
        "sigma over value, of all points at this energy so far",
    )
    POINT_MARK = "point_mark", "string", "", "why the point is not to be trusted as the others are"


class XasResult(Account, Marks):
    """The spectra, by ascending energy. Normalised: background subtracted, edge jump 1."""

    xas_energy: Annotated[Floats, Described("energy, as read back", "eV", ("energies",))] = NOT_KNOWN_1D
    i0_counts: Annotated[Floats, Described("I0, added up where it is not lost", "counts", ("energies",))] = NOT_KNOWN_1D
    tey: Annotated[Floats, Described("normalised total electron yield", "", ("energies",))] = NOT_KNOWN_1D
    tey_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = NOT_KNOWN_1D
    tey_status: Annotated[str, Described("ok, or why it is not normalised")] = ""
    tey_edge_jump: Annotated[float, Described("edge jump of the yield over I0")] = NAN
    tey_edge_jump_sigma: Annotated[float, Described("its standard uncertainty")] = NAN
    tey_over_i0_spectrum: Annotated[Floats, Described("yield over I0", "", ("energies",))] = NOT_KNOWN_1D
    tey_over_i0_spectrum_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = (
        NOT_KNOWN_1D
    )
    tfy: Annotated[Floats, Described("normalised total fluorescence yield", "", ("energies",))] = NOT_KNOWN_1D
    tfy_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = NOT_KNOWN_1D
    tfy_status: Annotated[str, Described("ok, or why it is not normalised")] = ""
    tfy_edge_jump: Annotated[float, Described("edge jump of the yield over I0")] = NAN
    tfy_edge_jump_sigma: Annotated[float, Described("its standard uncertainty")] = NAN
    tfy_over_i0_spectrum: Annotated[Floats, Described("yield over I0", "", ("energies",))] = NOT_KNOWN_1D
    tfy_over_i0_spectrum_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = (
        NOT_KNOWN_1D
    )
