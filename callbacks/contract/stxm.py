"""Outputs and results of the steps of STXM: lines, images, focus scans, and stacks analysed together."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract.outputs import (
    NAN,
    NO_INTEGERS,
    NO_INTEGERS_2D,
    NO_TEXTS,
    NOT_KNOWN_1D,
    NOT_KNOWN_2D,
    NOT_KNOWN_3D,
    Account,
    Described,
    Floats,
    Integers,
    Marks,
    Output,
    Result,
    Texts,
)


class LineOutput(Output):
    """What the steps give for each line."""

    RATE = "line_rate", "array", "counts/s", "count rate of each pixel, less the dark rate, at the first ring current"
    VARIANCE = "line_variance", "array", "(counts/s)^2", "its variance"
    SHARED = "line_shared_variance", "number", "", "relative variance that all its pixels share, that of the flux"
    MARK = "line_mark", "string", "", "why the line is not to be trusted as the others are"


class ImageOutput(Output):
    """What the steps give for each image, as its last line closes it."""

    INDEX = "index", "integer", "", "place among the energies asked for, from 0"
    ENERGY = "energy", "number", "eV", "mean energy of its lines"
    LINES = "lines", "integer", "", "lines that were measured"
    SHIFT = "shift", "array", "pixel", "shift of each region, rows and columns, that undoes the drift"
    SHIFT_SIGMA = "shift_sigma", "array", "pixel", "its standard uncertainty"
    IMAGE_STATUS = "image_status", "string", "", "ok, or why the image is not used"
    INCIDENT_RATE = "incident_rate", "number", "counts/s", "I0"
    INCIDENT_SIGMA = "incident_sigma", "number", "counts/s", "its standard uncertainty"
    I0_STATUS = "i0_status", "string", "", "ok, or why there is no I0"
    BLANK_PIXELS = "blank_pixels", "integer", "", "sample-free pixels that I0 is taken from"
    OPTICAL_DENSITY = "optical_density", "array", "", "-ln(I/I0) of each pixel, aligned"
    OPTICAL_DENSITY_VARIANCE = "optical_density_variance", "array", "", "its variance"
    PCA_STATUS = "pca_status", "string", "", "ok, or why there are no components yet"
    PCA_EXPLAINED = "pca_explained", "array", "", "share of the variance of each component"
    PCA_SIGNIFICANT = "pca_significant", "integer", "", "components above the noise"
    PIXELS_USED = "pixels_used", "integer", "", "pixels in the analysis"
    REDUCED_FRACTION = "reduced_fraction", "array", "", "reduced / (reduced + oxidised) of each pixel so far"
    REDUCED_FRACTION_SIGMA = "reduced_fraction_sigma", "array", "", "its standard uncertainty"
    REDUCED_FRACTION_MEDIAN_SIGMA = (
        "reduced_fraction_median_sigma",
        "number",
        "",
        "median over the pixels that hold sample, with the noise of the references; NaN where half are not known",
    )
    CHEMICAL_STATUS = "chemical_status", "string", "", "ok, or why there is no chemical map yet"


class FocusOutput(Output):
    """What the steps of a focus scan give for each line."""

    ZONE_PLATE_POSITION = "zone_plate_position", "number", "um", "position of the zone plate along the beam"
    SHARPNESS = "sharpness", "number", "", "mean square slope of the line without what noise adds"
    SHARPNESS_SIGMA = "sharpness_sigma", "number", "", "its standard uncertainty"


class LineResult(Result):
    """What is known of the detector."""

    dark_rate: Annotated[float, Described("dark rate; NaN where none was measured", "counts/s")] = NAN


class RegionsResult(Marks):
    """How the lines of an image make its regions, one below the other."""

    region_rows: Annotated[Integers, Described("lines of each region", "", ("regions",))] = NO_INTEGERS
    region_columns: Annotated[Integers, Described("pixels of its lines", "", ("regions",))] = NO_INTEGERS
    region_x: Annotated[Floats, Described("centres of the first and last pixel", "um", ("regions", "ends"))] = (
        NOT_KNOWN_2D
    )
    region_y: Annotated[Floats, Described("of the first and last line", "um", ("regions", "ends"))] = NOT_KNOWN_2D

    def positions(self) -> dict[str, tuple[Described, Any]]:
        """Give where the pixels are: x of the columns and y of the lines; of several regions x of every pixel."""
        if not (len(self.region_rows) == len(self.region_columns) == len(self.region_x) == len(self.region_y)):
            return {}
        lines, pixels = (
            [np.linspace(first, last, number) for (first, last), number in zip(ends, numbers, strict=True)]
            for ends, numbers in ((self.region_y, self.region_rows), (self.region_x, self.region_columns))
        )
        if len(lines) == 1:
            return {
                "x": (Described("x of the pixels", "um", ("columns",), is_axis=True), pixels[0]),
                "y": (Described("y of the lines", "um", ("lines",), is_axis=True), lines[0]),
            }
        x = np.full((len(self.region_rows), max(self.region_columns, default=0)), np.nan)
        for row, of_region in zip(x, pixels, strict=True):
            row[: len(of_region)] = of_region
        region = np.repeat(np.arange(len(lines)), self.region_rows)
        return {
            "region": (Described("which of the regions each line is of, from 0", "", ("lines",)), region),
            "x": (Described("x of the pixels", "um", ("lines", "columns")), x[region]),
            "y": (Described("y of the lines", "um", ("lines",)), np.concatenate([*lines, np.zeros(0)])),
        }


class AlignmentResult(Result):
    """Energies and shifts of all images, by ascending energy."""

    stack_energy: Annotated[Floats, Described("energy of each image", "eV", ("images",), is_axis=True)] = NOT_KNOWN_1D
    drift: Annotated[
        Floats, Described("shift of each region, rows and columns", "pixel", ("images", "regions", "axes"))
    ] = NOT_KNOWN_3D
    drift_sigma: Annotated[Floats, Described("its standard uncertainty", "pixel", ("images", "regions", "axes"))] = (
        NOT_KNOWN_3D
    )
    image_status: Annotated[Texts, Described("ok, or why the image is not used", "", ("images",))] = NO_TEXTS


class DensityResult(Result):
    """Incident flux, optical density and masks, by ascending energy."""

    incident_rate: Annotated[Floats, Described("I0 of each image", "counts/s", ("images",))] = NOT_KNOWN_1D
    incident_sigma: Annotated[
        Floats, Described("its standard uncertainty", "counts/s", ("images",), of="incident_rate")
    ] = NOT_KNOWN_1D
    i0_status: Annotated[str, Described("ok, or why there is no I0")] = ""
    blank: Annotated[Integers, Described("1 for the sample-free pixels", "", ("lines", "columns"))] = NO_INTEGERS_2D
    optical_density: Annotated[Floats, Described("-ln(I/I0), aligned", "", ("images", "lines", "columns"))] = (
        NOT_KNOWN_3D
    )
    optical_density_sigma: Annotated[
        Floats, Described("its standard uncertainty", "", ("images", "lines", "columns"))
    ] = NOT_KNOWN_3D
    mask: Annotated[
        Integers, Described("why each pixel is left out: place in `mask_reasons`", "", ("lines", "columns"))
    ] = NO_INTEGERS_2D
    mask_reasons: Annotated[Texts, Described("reasons", "", ("reasons",), is_axis=True)] = NO_TEXTS
    edge_jump: Annotated[Floats, Described("optical density at the edge less below", "", ("lines", "columns"))] = (
        NOT_KNOWN_2D
    )
    edge_jump_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("lines", "columns"))] = NOT_KNOWN_2D
    edge_top: Annotated[Floats, Described("energies of the top of the edge", "eV", ("ends",))] = NOT_KNOWN_1D
    pre_edge: Annotated[Floats, Described("energies below the edge", "eV", ("ends",))] = NOT_KNOWN_1D
    post_edge: Annotated[Floats, Described("energies above the edge", "eV", ("ends",))] = NOT_KNOWN_1D
    spectrum: Annotated[Floats, Described("mean optical density of the sample", "", ("images",))] = NOT_KNOWN_1D
    spectrum_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("images",))] = NOT_KNOWN_1D


class AnalysisResult(Result):
    """Components, end members and chemical maps.

    Pixels are those of the images; of stacks analysed together all pixels in one axis, with ``columns`` 1.
    """

    pca_status: Annotated[str, Described("ok, or why there are no components")] = ""
    pca_energy: Annotated[Floats, Described("energies analysed", "eV", ("energies",), is_axis=True)] = NOT_KNOWN_1D
    pca_mean: Annotated[Floats, Described("mean normalised spectrum", "", ("energies",))] = NOT_KNOWN_1D
    pca_components: Annotated[Floats, Described("components", "", ("components", "energies"))] = NOT_KNOWN_2D
    pca_eigenvalues: Annotated[Floats, Described("variance along each direction", "", ("energies",))] = NOT_KNOWN_1D
    pca_significant: Annotated[int, Described("components above the noise")] = -1
    pca_scree: Annotated[int, Described("of these, components before the largest step of the scree")] = -1
    pca_noise_eigenvalues: Annotated[
        Floats, Described("variance over that of the noise, along each direction", "", ("directions",))
    ] = NOT_KNOWN_1D
    pca_noise_edge: Annotated[float, Described("the largest that noise alone gives")] = NAN
    pca_scores: Annotated[Floats, Described("scores of the pixels", "", ("components", "lines", "columns"))] = (
        NOT_KNOWN_3D
    )
    pixels_used: Annotated[int, Described("pixels in the analysis")] = -1
    pca_kept: Annotated[Integers, Described("1 for these pixels", "", ("lines", "columns"))] = NO_INTEGERS_2D
    pixel_noise: Annotated[
        Floats, Described("spread of the normalised pixel below the edge", "", ("lines", "columns"))
    ] = NOT_KNOWN_2D
    noise_cut: Annotated[float, Described("pixels with more are left out")] = NAN
    brightness: Annotated[Floats, Described("edge area", "eV", ("lines", "columns"))] = NOT_KNOWN_2D
    chemical_status: Annotated[str, Described("ok, or why there is no chemical map")] = ""
    reference_note: Annotated[str, Described("references that are left out, or fitted in part, and why")] = ""
    end_member_names: Annotated[
        Texts, Described("names of end members or references", "", ("members",), is_axis=True)
    ] = NO_TEXTS
    end_member_energy: Annotated[Floats, Described("energies fitted", "eV", ("fitted",), is_axis=True)] = NOT_KNOWN_1D
    end_members: Annotated[Floats, Described("their spectra", "", ("members", "fitted"))] = NOT_KNOWN_2D
    end_members_sigma: Annotated[
        Floats, Described("standard uncertainty; 0 for references", "", ("members", "fitted"))
    ] = NOT_KNOWN_2D
    end_member_note: Annotated[str, Described("what is not known of the purity of end members")] = ""
    fractions: Annotated[Floats, Described("non-negative fractions", "", ("members", "lines", "columns"))] = (
        NOT_KNOWN_3D
    )
    fractions_sigma: Annotated[Floats, Described("their standard uncertainty", "", ("members", "lines", "columns"))] = (
        NOT_KNOWN_3D
    )
    residual: Annotated[Floats, Described("2-norm of the residual of the fit", "", ("lines", "columns"))] = NOT_KNOWN_2D
    reduced_fraction: Annotated[
        Floats,
        Described("reduced / (reduced + oxidised); NaN where uncertain by more than 1", "", ("lines", "columns")),
    ] = NOT_KNOWN_2D
    reduced_fraction_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("lines", "columns"))] = (
        NOT_KNOWN_2D
    )
    cluster_names: Annotated[Texts, Described("names of the clusters at the extremes", "", ("members",))] = NO_TEXTS
    clusters: Annotated[Integers, Described("cluster of each pixel, from 1; 0 for none", "", ("lines", "columns"))] = (
        NO_INTEGERS_2D
    )
    cluster_purity: Annotated[Floats, Described("share of each end member in its cluster", "", ("members",))] = (
        NOT_KNOWN_1D
    )
    nmf_components: Annotated[Floats, Described("components of the NMF", "", ("members", "energies"))] = NOT_KNOWN_2D
    nmf_weights: Annotated[Floats, Described("their weights", "", ("members", "lines", "columns"))] = NOT_KNOWN_3D
    nmf_converged: Annotated[bool, Described("whether the NMF converged")] = False
    background_window: Annotated[Floats, Described("energies of the background", "eV", ("ends",))] = NOT_KNOWN_1D
    brightness_window: Annotated[Floats, Described("energies of the edge area", "eV", ("ends",))] = NOT_KNOWN_1D


class StackResult(AnalysisResult):
    """The analysis of one stack."""

    average_spectrum: Annotated[Floats, Described("average of the sample pixels", "", ("energies",))] = NOT_KNOWN_1D
    average_spectrum_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("energies",))] = NOT_KNOWN_1D
    average_pixels: Annotated[int, Described("pixels averaged")] = -1
    total_fractions: Annotated[Floats, Described("fractions in the mean spectrum", "", ("members",))] = NOT_KNOWN_1D
    total_fractions_sigma: Annotated[Floats, Described("their standard uncertainty", "", ("members",))] = NOT_KNOWN_1D
    total_reduced: Annotated[float, Described("reduced / (reduced + oxidised) there; NaN: see `chemical_status`")] = NAN
    total_reduced_sigma: Annotated[float, Described("its standard uncertainty")] = NAN


class StxmResult(Account, LineResult, RegionsResult, AlignmentResult, DensityResult, StackResult):
    """All that the reduction of a stack or a line spectrum found."""

    @property
    def has_images(self) -> bool:
        """Whether any image was measured, and the steps that align and normalise images have results."""
        return bool(self.optical_density.size) and len(self.stack_energy) == len(self.optical_density)


class PooledResult(AnalysisResult):
    """The analysis of several stacks together."""

    runs: Annotated[Texts, Described("uids", "", ("runs",), is_axis=True)] = NO_TEXTS
    left_out: Annotated[Texts, Described("uids of runs that are left out", "", ("others",), is_axis=True)] = NO_TEXTS
    left_out_reasons: Annotated[Texts, Described("sample of each, and why", "", ("others",))] = NO_TEXTS
    samples: Annotated[Texts, Described("samples", "", ("runs",))] = NO_TEXTS
    run_pixels: Annotated[Integers, Described("pixels of each run", "", ("runs",))] = NO_INTEGERS
    run_lines: Annotated[Integers, Described("lines of its images", "", ("runs",))] = NO_INTEGERS
    run_width_um: Annotated[Floats, Described("width of its images", "um", ("runs",))] = NOT_KNOWN_1D
    run_height_um: Annotated[Floats, Described("height of its images", "um", ("runs",))] = NOT_KNOWN_1D
    energy_offset: Annotated[Floats, Described("of its energy scale", "eV", ("runs",))] = NOT_KNOWN_1D
    energy_offset_sigma: Annotated[Floats, Described("its standard uncertainty", "eV", ("runs",))] = NOT_KNOWN_1D
    average_spectra: Annotated[Floats, Described("average of its sample pixels", "", ("runs", "energies"))] = (
        NOT_KNOWN_2D
    )
    average_spectra_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("runs", "energies"))] = (
        NOT_KNOWN_2D
    )
    total_fractions: Annotated[Floats, Described("fractions in that", "", ("runs", "members"))] = NOT_KNOWN_2D
    total_fractions_sigma: Annotated[Floats, Described("their standard uncertainty", "", ("runs", "members"))] = (
        NOT_KNOWN_2D
    )
    total_reduced: Annotated[Floats, Described("reduced / (reduced + oxidised) there", "", ("runs",))] = NOT_KNOWN_1D
    total_reduced_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("runs",))] = NOT_KNOWN_1D

    @property
    def why_left_out(self) -> dict[str, str]:
        """Why runs are left out, by uid."""
        return dict(zip(map(str, self.left_out), map(str, self.left_out_reasons), strict=True))

    def images(self, pixels: Any) -> list[NDArray[Any]]:
        """Split what is known of the pixels of all runs into an image for each run.

        Parameters
        ----------
        pixels : numpy.ndarray, shape (..., n, 1)
            Values of the pixels, those of one run after those of another.

        Returns
        -------
        list of numpy.ndarray, each shape (..., lines, columns)
        """
        values = np.asarray(pixels)
        *several, _, _ = values.shape
        ends = np.cumsum(self.run_pixels)[:-1]
        split = np.split(values.reshape(*several, -1), ends, axis=-1)
        return [one.reshape(*several, lines, -1) for one, lines in zip(split, self.run_lines.tolist(), strict=True)]


class FocusResult(Account, LineResult, Marks):
    """The best focus, and the sharpness of every line."""

    focus: Annotated[float, Described("position of the zone plate", "um")] = NAN
    focus_sigma: Annotated[float, Described("its standard uncertainty", "um")] = NAN
    focus_status: Annotated[str, Described("ok, or why there is none")] = ""
    focus_position: Annotated[Floats, Described("position at each line", "um", ("lines",), is_axis=True)] = NOT_KNOWN_1D
    focus_sharpness: Annotated[Floats, Described("sharpness of each line", "", ("lines",))] = NOT_KNOWN_1D
    focus_sharpness_sigma: Annotated[Floats, Described("its standard uncertainty", "", ("lines",))] = NOT_KNOWN_1D
    focus_lines: Annotated[Floats, Described("the lines", "counts/s", ("lines", "columns"))] = NOT_KNOWN_2D
