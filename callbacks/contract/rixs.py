"""Outputs and results of the steps of a RIXS map."""

from __future__ import annotations

from typing import Annotated

from callbacks.contract.outputs import (
    NAN,
    NO_INTEGERS,
    NO_INTEGERS_2D,
    NO_TEXTS,
    NOT_KNOWN_1D,
    NOT_KNOWN_2D,
    NOT_KNOWN_3D,
    Account,
    Booleans,
    Described,
    Floats,
    Integers,
    Marks,
    Output,
    Result,
    Texts,
)


class RixsOutput(Output):
    """What the steps of a RIXS map give for each frame."""

    IMAGE = "image", "array", "counts", "frame without its pedestal; after the second step, without its cosmic rays"
    SATURATED = "image_saturated", "array", "", "pixels at full scale"
    PEDESTAL = "pedestal", "number", "counts", "level of the frame without light"
    READ_NOISE = "read_noise", "number", "counts", "standard deviation of a pixel without light"
    CLIPPING = "clipping", "array", "counts", "never kept: how the instrument has clipped the frame, if it has"
    PHOTON_COUNTS = "photon_counts", "number", "counts", "counts of one photon at the excitation energy"
    PHOTON_COUNTS_REASON = "photon_counts_reason", "string", "", "why the counts of a photon are not known"
    COSMIC_MASK = "cosmic_mask", "array", "", "pixels replaced by the model of their column"
    COSMIC_HITS = "cosmic_hits", "integer", "", "cosmic-ray hits found"
    COSMIC_REMOVED_COUNTS = "cosmic_removed_counts", "number", "counts", "charge taken out with them"
    SPECTRUM = "spectrum", "array", "counts", "sum along the lines of constant emission energy"
    SPECTRUM_VARIANCE = "spectrum_variance", "array", "counts^2", "its variance"
    INTEGRATION_METHOD = "integration_method", "string", "", "sum or photons; why, where photons were asked for"
    CURVATURE_STATUS = "curvature_status", "string", "", "ok, or why the frame was not straightened"
    REVISED_SPECTRA = "revised_spectra", "array", "counts", "never kept: earlier frames' spectra, straightened since"
    FRAME_MARK = "frame_mark", "string", "", "why the frame is not to be trusted as the others are"
    I0_RELATIVE = "i0_relative", "number", "", "incident flux over its trend"
    NORMALISATION = "normalisation", "number", "1e6/counts", "factor that normalises the spectrum to I0"
    NORMALISATION_VARIANCE = "normalisation_variance", "number", "(1e6/counts)^2", "its variance"
    REVISED_NORMALISATION = (
        "revised_normalisation",
        "array",
        "1e6/counts",
        "never kept: factors of earlier frames and their variances, whose trend is better known since",
    )
    ROW = "row", "integer", "", "row of the map that the frame is added to"
    ROW_RELATIVE_ERROR = (
        "row_relative_error",
        "number",
        "",
        "of the row so far: sigma over value of the brightest resolution element",
    )
    ROWS = "rows", "array", "", "never kept: rows that the frame changed"
    ROW_DISPLACEMENTS = "row_displacements", "array", "pixel", "never kept: what is not known of the drift of each row"
    ROW_SHIFTS = "row_shifts", "array", "pixel", "never kept: drift of each row that its elastic line has told"
    DRIFT_PIXELS = "drift_pixels", "number", "pixel", "drift of the spectrograph since the first frame"
    DRIFT_SIGMA = "drift_sigma", "number", "pixel", "its standard uncertainty"
    ELASTIC_LINE_PIXEL = "elastic_line_pixel", "number", "pixel", "column of the elastic line of the row"
    ELASTIC_LINE_SIGMA = "elastic_line_sigma", "number", "pixel", "its standard uncertainty"
    ELASTIC_LINE_SIGNIFICANCE = "elastic_line_significance", "number", "", "height over its standard uncertainty"
    ELASTIC_LINE_REASON = "elastic_line_reason", "string", "", "why the row has no usable elastic line"
    CALIBRATION = "calibration", "array", "eV", "never kept: the calibration by all rows so far"
    CALIBRATION_NOW = "calibration_now", "string", "", "its status: ok, or why there is none"
    CALIBRATION_NOW_PARAMETERS = "calibration_now_parameters", "array", "", "E0 (eV), dispersion, bend (1/pixel)"
    CALIBRATION_NOW_PIVOT = "calibration_now_pivot", "number", "pixel", "its pivot"


class IntegrationResult(Result):
    """The curvature that the frames were straightened with."""

    curvature: Annotated[Floats, Described("tilt and curvature over the rows", "pixel", ("orders",))] = NOT_KNOWN_1D
    curvature_sigma: Annotated[float, Described("standard uncertainty at the edge of the chip", "pixel")] = NAN
    curvature_status: Annotated[str, Described("ok, or why there is none")] = ""


class RowsResult(Result):
    """How frames make the rows of the map."""

    row_frames: Annotated[Integers, Described("frames of each row, in the order of first visits", "", ("visited",))] = (
        NO_INTEGERS
    )
    drift_status: Annotated[str, Described("what told the drift of the spectrograph")] = ""
    drift_frame_hours: Annotated[Floats, Described("time of each frame since the first", "h", ("frame",))] = (
        NOT_KNOWN_1D
    )
    drift_frame_pixels: Annotated[Floats, Described("drift of each frame", "pixel", ("frame",))] = NOT_KNOWN_1D
    drift_frame_sigma: Annotated[
        Floats, Described("its standard uncertainty", "pixel", ("frame",), of="drift_frame_pixels")
    ] = NOT_KNOWN_1D


class CalibrationResult(Result):
    """The calibration of the emission energy by the elastic lines, and the line of each row."""

    calibration_status: Annotated[str, Described("ok, or why there is none")] = ""
    calibration_alarm: Annotated[str, Described("what a user must know at once; else empty")] = ""
    calibration_parameters: Annotated[
        Floats, Described("E0 (eV), dispersion D (eV/pixel) and bend (1/pixel) at the pivot", "", ("coefficients",))
    ] = NOT_KNOWN_1D
    calibration_covariance: Annotated[
        Floats, Described("covariance of the coefficients", "", ("coefficients", "other_coefficients"))
    ] = NOT_KNOWN_2D
    calibration_pivot: Annotated[float, Described("column that the coefficients hold at", "pixel")] = NAN
    calibration_dispersion_ev_per_pixel: Annotated[float, Described("dispersion at the pivot", "eV/pixel")] = NAN
    calibration_dispersion_sigma: Annotated[
        float, Described("its standard uncertainty", "eV/pixel", of="calibration_dispersion_ev_per_pixel")
    ] = NAN
    calibration_rms_ev: Annotated[float, Described("rms of the residuals of the lines used", "eV")] = NAN
    calibration_accepted: Annotated[int, Described("elastic lines used")] = -1
    calibration_rejected: Annotated[int, Described("rows without a usable elastic line")] = -1
    calibration_common: Annotated[
        Floats, Described("what all lines say of the causes of their displacements", "", ("causes",))
    ] = NOT_KNOWN_1D
    calibration_loaded: Annotated[str, Described("where dispersion and bend are from; empty: the lines alone")] = ""
    calibration_loaded_offset: Annotated[
        float, Described("how far the lines lie from where they lay there", "pixel")
    ] = NAN
    calibration_loaded_offset_sigma: Annotated[float, Described("its standard uncertainty", "pixel")] = NAN
    known_names: Annotated[Texts, Described("fluorescence lines that joined the fit", "", ("known",), is_axis=True)] = (
        NO_TEXTS
    )
    known_energy: Annotated[Floats, Described("their energies", "eV", ("known",))] = NOT_KNOWN_1D
    known_energy_sigma: Annotated[Floats, Described("standard uncertainty", "eV", ("known",))] = NOT_KNOWN_1D
    known_pixel: Annotated[Floats, Described("columns", "pixel", ("known",))] = NOT_KNOWN_1D
    known_pixel_sigma: Annotated[Floats, Described("standard uncertainty", "pixel", ("known",))] = NOT_KNOWN_1D
    known_displacement: Annotated[
        Floats, Described("displacement by each cause, as for the elastic lines", "pixel", ("known", "causes"))
    ] = NOT_KNOWN_2D
    known_pull: Annotated[
        Floats, Described("by how many sigmas its energy is off what all other lines give", "", ("known",))
    ] = NOT_KNOWN_1D
    known_left_out: Annotated[
        Texts, Described("fluorescence lines that were given and are not used", "", ("unused",), is_axis=True)
    ] = NO_TEXTS
    known_left_out_reasons: Annotated[Texts, Described("why", "", ("unused",))] = NO_TEXTS
    elastic_energy: Annotated[Floats, Described("excitation energy of each row", "eV", ("visited",), is_axis=True)] = (
        NOT_KNOWN_1D
    )
    elastic_pixel: Annotated[Floats, Described("column of its elastic line", "pixel", ("visited",))] = NOT_KNOWN_1D
    elastic_sigma: Annotated[
        Floats, Described("its standard uncertainty", "pixel", ("visited",), of="elastic_pixel")
    ] = NOT_KNOWN_1D
    elastic_moved: Annotated[
        Floats, Described("how far drift and emission moved it, as all lines together tell", "pixel", ("visited",))
    ] = NOT_KNOWN_1D
    elastic_fit_sigma: Annotated[
        Floats,
        Described("standard uncertainty in the fit, what emission does to one line included", "pixel", ("visited",)),
    ] = NOT_KNOWN_1D
    elastic_displacement: Annotated[
        Floats,
        Described(
            "displacement by each independent cause of unit variance, drift and (last) emission",
            "pixel",
            ("visited", "causes"),
        ),
    ] = NOT_KNOWN_2D
    elastic_significance: Annotated[Floats, Described("height over its standard uncertainty", "", ("visited",))] = (
        NOT_KNOWN_1D
    )
    elastic_fwhm: Annotated[Floats, Described("its full width at half maximum", "pixel", ("visited",))] = NOT_KNOWN_1D
    elastic_accepted: Annotated[Booleans, Described("whether the calibration uses it", "", ("visited",))] = (
        NOT_KNOWN_1D.astype(bool)
    )
    elastic_reason: Annotated[Texts, Described("why not", "", ("visited",))] = NO_TEXTS
    elastic_window_column: Annotated[Integers, Described("columns around the line", "pixel", ("visited", "window"))] = (
        NO_INTEGERS_2D
    )
    elastic_window_counts: Annotated[Floats, Described("counts there", "counts", ("visited", "window"))] = NOT_KNOWN_2D
    elastic_window_sigma: Annotated[
        Floats, Described("their standard uncertainty", "counts", ("visited", "window"))
    ] = NOT_KNOWN_2D
    elastic_window_model: Annotated[Floats, Described("the fitted line", "counts", ("visited", "window"))] = (
        NOT_KNOWN_2D
    )


class RixsMapResult(Result):
    """The map, by ascending excitation energy. Intensities are counts for 1e6 counts of I0."""

    excitation_energy: Annotated[Floats, Described("excitation energy of each row", "eV", ("rows",), is_axis=True)] = (
        NOT_KNOWN_1D
    )
    map: Annotated[Floats, Described("intensity normalised to I0", "counts", ("rows", "columns"))] = NOT_KNOWN_2D
    map_variance: Annotated[Floats, Described("its variance", "counts^2", ("rows", "columns"))] = NOT_KNOWN_2D
    emission_energy: Annotated[
        Floats, Described("emission energy of each column", "eV", ("columns",), is_axis=True)
    ] = NOT_KNOWN_1D
    emission_energy_sigma: Annotated[Floats, Described("its standard uncertainty", "eV", ("columns",))] = NOT_KNOWN_1D
    energy_loss: Annotated[Floats, Described("excitation less emission energy", "eV", ("losses",), is_axis=True)] = (
        NOT_KNOWN_1D
    )
    map_loss: Annotated[Floats, Described("intensity against energy loss", "counts", ("rows", "losses"))] = NOT_KNOWN_2D
    map_loss_variance: Annotated[Floats, Described("its variance", "counts^2", ("rows", "losses"))] = NOT_KNOWN_2D
    pfy: Annotated[Floats, Described("partial fluorescence yield", "counts", ("rows",))] = NOT_KNOWN_1D
    pfy_sigma: Annotated[Floats, Described("its standard uncertainty", "counts", ("rows",))] = NOT_KNOWN_1D
    ipfy: Annotated[Floats, Described("inverse partial fluorescence yield", "1/counts", ("rows",))] = NOT_KNOWN_1D
    ipfy_sigma: Annotated[Floats, Described("its standard uncertainty", "1/counts", ("rows",))] = NOT_KNOWN_1D


class RixsResult(Account, Marks, IntegrationResult, RowsResult, CalibrationResult, RixsMapResult):
    """All that the reduction of a RIXS map found."""


class RixsPooledResult(CalibrationResult):
    """Several maps as one: the calibration by the lines of all, as of the first map, and the maps on its columns.

    What is said of elastic lines is of the rows of all maps, one map after the other.
    """

    runs: Annotated[Texts, Described("uids", "", ("runs",), is_axis=True)] = NO_TEXTS
    samples: Annotated[Texts, Described("samples", "", ("runs",))] = NO_TEXTS
    left_out: Annotated[Texts, Described("uids of runs that are left out", "", ("others",), is_axis=True)] = NO_TEXTS
    left_out_reasons: Annotated[Texts, Described("why", "", ("others",))] = NO_TEXTS
    chi_square: Annotated[float, Described("of the dispersions of the runs about their mean")] = NAN
    chi_square_freedom: Annotated[int, Described("its degrees of freedom")] = -1
    lines_chi_square: Annotated[float, Described("of all lines about the calibration")] = NAN
    lines_freedom: Annotated[int, Described("its degrees of freedom")] = -1
    run_dispersion: Annotated[
        Floats, Described("dispersion by the lines of each run, with the bend and pull of all", "eV/pixel", ("runs",))
    ] = NOT_KNOWN_1D
    run_dispersion_sigma: Annotated[Floats, Described("its standard uncertainty", "eV/pixel", ("runs",))] = NOT_KNOWN_1D
    run_pull: Annotated[Floats, Described("by how many sigmas it is off that of the others", "", ("runs",))] = (
        NOT_KNOWN_1D
    )
    run_offset: Annotated[
        Floats, Described("displacement of its first frame against the first run", "pixel", ("runs",))
    ] = NOT_KNOWN_1D
    run_offset_sigma: Annotated[Floats, Described("its standard uncertainty", "pixel", ("runs",))] = NOT_KNOWN_1D
    run_drift: Annotated[
        Floats, Described("displacement of its last row against its first frame", "pixel", ("runs",))
    ] = NOT_KNOWN_1D
    run_drift_sigma: Annotated[Floats, Described("its standard uncertainty", "pixel", ("runs",))] = NOT_KNOWN_1D
    run_intensity: Annotated[
        Floats, Described("of what was measured in both, over that of the first run", "", ("runs",))
    ] = NOT_KNOWN_1D
    run_intensity_sigma: Annotated[Floats, Described("its standard uncertainty, of noise", "", ("runs",))] = (
        NOT_KNOWN_1D
    )
    elastic_run: Annotated[Integers, Described("which of the runs each elastic line is of", "", ("visited",))] = (
        NO_INTEGERS
    )
    excitation_energy: Annotated[
        Floats, Described("excitation energy of each row", "eV", ("energies",), is_axis=True)
    ] = NOT_KNOWN_1D
    emission_energy: Annotated[
        Floats, Described("emission energy of each column", "eV", ("columns",), is_axis=True)
    ] = NOT_KNOWN_1D
    emission_energy_sigma: Annotated[
        Floats, Described("its standard uncertainty, which is the same error in all runs", "eV", ("columns",))
    ] = NOT_KNOWN_1D
    maps: Annotated[Floats, Described("intensity normalised to I0", "counts", ("runs", "energies", "columns"))] = (
        NOT_KNOWN_3D
    )
    maps_variance: Annotated[Floats, Described("its variance", "counts^2", ("runs", "energies", "columns"))] = (
        NOT_KNOWN_3D
    )
    difference: Annotated[
        Floats, Described("of each further run less the first", "counts", ("further", "energies", "columns"))
    ] = NOT_KNOWN_3D
    difference_variance: Annotated[
        Floats, Described("its variance by noise", "counts^2", ("further", "energies", "columns"))
    ] = NOT_KNOWN_3D
    difference_by_offset: Annotated[
        Floats,
        Described(
            "what one sigma of the offset does to it: one error for all columns of a row",
            "counts",
            ("further", "energies", "columns"),
        ),
    ] = NOT_KNOWN_3D
