"""Figures of an analysis by a recipe: what their axes and the columns of their numbers are called, and residuals."""

import numpy as np
import pytest

from beamline.report.analysed import analysed_figures, fits, tables
from beamline.report.figures import literal
from beamline.report.numbers import numbers_of
from callbacks.analysis import Recipe, Row, Spectra, analyse

ENERGY = np.arange(630.0, 670.0, 0.25)
NOISE = 0.01
MEASURES = {"centre": {"by": "centroid", "window": (638, 648)}, "phases": {"by": "lcf"}}


def line(centre):
    step = 0.5 + np.arctan((ENERGY - 641.0) / 0.5) / np.pi
    return 0.6 * step + np.exp(-0.5 * ((ENERGY - centre) / 1.2) ** 2)


def analysed(measures=MEASURES, *, noise=NOISE, units="counts", edges=("Mn L3",), names=("pristine", "charged")):
    values = {name: line(640.0 + 3 * place) for place, name in enumerate(names)}
    kept = {name: {"energy": tuple(ENERGY), "values": tuple(one), "source": "a file"} for name, one in values.items()}
    recipe = Recipe.model_validate({"technique": "xas", "references": kept, "measures": measures})
    rows = []
    for seed in range(3):
        spectrum = sum(values.values()) / len(values)
        spectrum = spectrum + np.random.default_rng(seed).normal(0, noise, len(ENERGY)) if noise else spectrum
        spectra = Spectra(ENERGY, spectrum, np.full(len(ENERGY), NOISE**2))
        rows += [Row(f"run-{seed}-{edge}", f"{seed}", "tey", spectra, units=units, edge=edge) for edge in edges]
    return analyse(rows, [], recipe)


def titles(figure):
    return [[column.title for column in table.columns] for table in numbers_of(figure)]


def test_data_fit_and_residual_are_columns_of_their_own_with_quantity_and_unit_in_each_panel():
    drawn = {heading: figure for heading, _, figure in analysed_figures(analysed(), list(MEASURES))}
    found = titles(drawn["Fits: phases"])
    assert len(found) == 6
    fitted = ["photon energy (eV)", "data: spectrum (counts)", "fit: spectrum (counts)"]
    assert [columns for columns in found if len(columns) == 3] == 3 * [fitted]
    assert [columns for columns in found if len(columns) == 2] == 3 * [["photon energy (eV)", "residual (counts)"]]


def test_long_names_that_differ_at_their_ends_are_told_apart_and_leave_the_curves_their_room():
    samples = [f"Li1.17Ni0.21Co0.08Mn0.54O2 electrode from the glove box, cycled, {at} mAh/g" for at in (100, 140, 180)]
    result = analysed().model_copy(update={"row_sample": np.array(samples)})
    (figure,) = (figure for heading, _, figure in analysed_figures(result, list(MEASURES)) if heading == "Spectra")
    axes = literal(figure).axes[0]
    figure.draw_without_rendering()
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == [f"Li1.17Ni0.21Co0 … led, {at} mAh/g" for at in (100, 140, 180)]
    assert axes.get_legend().get_window_extent().width < 0.35 * axes.get_window_extent().width
    (table, *_) = tables(result, list(MEASURES))
    assert [row[0] for row in table.rows] == samples


@pytest.mark.parametrize(
    ("measure", "edges", "labels", "columns"),
    [
        ("centre", ("Mn L3",), ["energy (eV)"], ["centroid from 638 to 648 eV: energy (eV)"]),
        (
            "phases",
            ("Mn L3",),
            ["fraction", "residual (counts)"],
            ["fraction of pristine", "fraction of charged", "sum of the fractions"],
        ),
        ("phases", ("Mn L3", "Ni L3"), ["fraction", "residual (counts)"], ["Mn L3: fraction of pristine"]),
    ],
)
def test_axes_say_what_was_read_off(measure, edges, labels, columns):
    result = analysed(edges=edges)
    (figure,) = (figure for heading, _, figure in analysed_figures(result, [measure]) if heading == measure)
    assert list(dict.fromkeys(axes.get_ylabel() for axes in figure.axes))[: len(labels)] == labels
    found = [title for table in titles(figure) for title in table]
    assert set(columns) <= set(found)
    assert not [title for title in found if title.endswith(": y") or title in ("x", "y")]
    for table in numbers_of(figure):
        assert list(table.columns[0].values) == ["0", "1", "2"]


def test_the_axis_of_a_single_fraction_names_it():
    result = analysed({"phases": {"by": "lcf"}}, names=("pristine",))
    (figure,) = (figure for heading, _, figure in analysed_figures(result, ["phases"]) if heading == "phases")
    assert figure.axes[0].get_ylabel() == "fraction of pristine"


@pytest.mark.long
def test_a_residual_of_rounding_is_drawn_as_the_line_that_it_is():
    exact, noisy = (fits(analysed(noise=noise), "phases") for noise in (0.0, NOISE))
    height = np.ptp((line(640.0) + line(643.0)) / 2)
    for figure, limits in ((exact, (-0.01 * height, 0.01 * height)), (noisy, None)):
        below = figure.axes[3:]
        figure.draw_without_rendering()
        for axes in below:
            assert axes.yaxis.get_offset_text().get_text() == ""
            if limits:
                assert axes.get_ylim() == pytest.approx(limits)
            else:
                assert axes.get_ylim()[1] > 2 * NOISE


def test_no_line_is_drawn_where_nothing_was_measured():
    gap = (ENERGY > 640.0) & (ENERGY < 643.0)
    values = np.where(gap, np.nan, line(641.0))
    row = Row("run", "torn", "tey", Spectra(ENERGY, values, np.where(gap, np.nan, NOISE**2)))
    recipe = Recipe.model_validate({"technique": "xas", "measures": {"steepest": {"by": "derivative"}}})
    drawn = {heading: figure for heading, _, figure in analysed_figures(analyse([row], [], recipe), ["steepest"])}
    for figure in drawn.values():
        for curve in (each for each in figure.axes[0].get_lines() if len(each.get_xdata()) > 2):
            assert np.isnan(curve.get_ydata()[gap]).all()
    (table,) = numbers_of(drawn["Spectra"])
    columns = [column.values for column in table.columns]
    np.testing.assert_allclose(columns[1], values)
    np.testing.assert_allclose(columns[2], np.where(gap, np.nan, NOISE))
