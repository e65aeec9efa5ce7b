"""Figures for print: their numbers, size, fonts, colours, and that the same figures give the same files."""

import csv
import re
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest
from command_line import as_json, beamline
from here import reducing_session
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from beamline.acquire.session import measure
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.report import write_report
from beamline.report import rixs_figures
from beamline.report.figures import flux
from beamline.report.numbers import drawn_as, numbers_of
from beamline.report.stxm.curves import drift, spectra
from beamline.report.stxm.images import Field, gallery
from beamline.report.stxm.maps import chemical_map, pixel_masks
from beamline.report.style import FigureStyle, restyle, write_figures
from beamline.report.xas import absorption
from beamline.storage import Runs
from callbacks.contract import XasResult
from plans import xas

RNG = np.random.default_rng(1)
ENERGY = np.array([520.0, 521.0, 523.5, 524.0])


def columns_of(table):
    return {column.title: column.values for column in table.columns}


def read(path):
    rows = list(csv.reader(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")))
    return rows[0], np.array([[float(cell or "nan") for cell in row] for row in rows[1:]])


def one_panel():
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="energy (eV)", ylabel="yield (counts)", title="one panel")
    return figure, axes


def test_spectra_have_their_uncertainties_beside_them():
    values, sigma = RNG.normal(size=(2, 4)), np.abs(RNG.normal(size=(2, 4)))
    yields = {"TEY": (values[0], sigma[0]), "TFY": (values[1], sigma[1])}
    first, second = numbers_of(absorption(ENERGY, yields, title="scan 1", label="normalised absorption"))
    for table, name, value, error in ((first, "TEY", values[0], sigma[0]), (second, "TFY", values[1], sigma[1])):
        found = columns_of(table)
        assert list(found) == [
            "excitation energy (eV)",
            f"{name}: normalised absorption",
            f"{name}: normalised absorption, standard uncertainty",
        ]
        np.testing.assert_array_equal(found["excitation energy (eV)"], ENERGY)
        np.testing.assert_array_equal(found[f"{name}: normalised absorption"], value)
        np.testing.assert_allclose(found[f"{name}: normalised absorption, standard uncertainty"], error, rtol=1e-9)


def test_a_point_that_is_not_known_leaves_its_place_empty():
    values, sigma = np.array([1.0, np.nan, 3.0, 4.0]), np.array([0.1, np.nan, 0.3, 0.4])
    (table,) = numbers_of(absorption(ENERGY, {"TEY": (values, sigma)}, title="", label="yield"))
    _, drawn, error = columns_of(table).values()
    np.testing.assert_array_equal(drawn, values)
    np.testing.assert_allclose(error, sigma)
    assert list(table.lines())[2] == ["521", "", ""]


def test_curves_of_a_stack_share_their_energies():
    curves = [("a", RNG.normal(size=4), np.full(4, 0.2)), ("b", RNG.normal(size=4), None)]
    above, below = numbers_of(spectra(ENERGY, curves, label="optical density", title="mean", difference=True))
    found = columns_of(above)
    assert list(found) == [
        "energy (eV)",
        "a: optical density",
        "a: optical density, standard uncertainty",
        "b: optical density",
    ]
    np.testing.assert_array_equal(found["b: optical density"], curves[1][1])
    np.testing.assert_array_equal(columns_of(below)["b: difference from the first"], curves[1][1] - curves[0][1])


def test_a_map_is_a_matrix_with_its_energies_and_its_partial_yield():
    excitation, emission = np.array([528.0, 529.0, 529.5, 531.5]), np.array([519.9, 520.0, 520.2, 520.5, 520.9])
    intensity = RNG.normal(size=(4, 5))
    tables = numbers_of(rixs_figures.rixs_map(excitation, emission, intensity, title="scan 2"))
    matrix, side = tables[0], tables[-1]
    assert (
        matrix.corner
        == "counts per column and 10⁶ counts of I0: excitation energy (eV) down and emission energy (eV) across"
    )
    np.testing.assert_allclose(matrix.columns[0].values, excitation, rtol=1e-12)
    np.testing.assert_allclose([float(column.title) for column in matrix.columns[1:]], emission, rtol=1e-9)
    np.testing.assert_array_equal(np.array([column.values for column in matrix.columns[1:]]).T, intensity)
    np.testing.assert_array_equal(side.columns[1].values, excitation)


def test_spectra_one_above_the_other_have_their_own_values_in_the_table():
    emission, excitation = np.linspace(510, 530, 30), np.array([528.0, 531.0])
    intensity, sigma = np.abs(RNG.normal(size=(2, 30))), np.full((2, 30), 0.1)
    figure = rixs_figures.spectra(
        emission, intensity, sigma, excitation, window=(510, 530), axis_label="emission energy (eV)"
    )
    (table,) = numbers_of(figure)
    found = list(columns_of(table).items())
    assert [title.split(":")[0] for title, _ in found[1:]] == ["528.00 eV", "528.00 eV", "531.00 eV", "531.00 eV"]
    np.testing.assert_allclose(found[1][1], intensity[0], atol=1e-12)
    np.testing.assert_allclose(found[3][1], intensity[1], atol=1e-12)
    np.testing.assert_allclose(found[4][1], sigma[1], rtol=1e-6)


def test_elastic_lines_have_the_uncertainty_of_their_columns():
    pixels, sigmas = np.array([10.0, 20.0, np.nan]), np.array([0.1, 0.2, np.nan])
    figure, axes = one_panel()
    axes.errorbar(pixels, [1.0, 2.0, 3.0], xerr=sigmas, yerr=[0.5, 0.25, 0.1], fmt="o", label="used")
    (table,) = numbers_of(figure)
    found = columns_of(table)
    np.testing.assert_allclose(found["energy (eV), standard uncertainty"][:2], sigmas[:2])
    np.testing.assert_allclose(found["used: yield (counts), standard uncertainty"][:2], [0.5, 0.25])


def test_drift_with_its_uncertainty_and_path():
    shift, sigma = RNG.normal(size=(4, 1, 2)), np.abs(RNG.normal(size=(4, 1, 2)))
    first, path = numbers_of(drift(ENERGY, shift, sigma, ["ok", "ok", "lost", "ok"]))
    found = columns_of(first)
    np.testing.assert_array_equal(found["columns: shift (pixel)"], shift[:, 0, 1])
    np.testing.assert_allclose(found["rows: shift (pixel), standard uncertainty"], sigma[:, 0, 0])
    assert not [title for title in found if title.startswith("_")]  # the dotted line of the image that is not used
    np.testing.assert_array_equal(columns_of(path)["rows (pixel)"], shift[:, 0, 0])


def test_images_are_matrices_by_the_places_of_their_pixels():
    image = RNG.normal(size=(3, 4))
    image[0, 0] = np.nan
    place = Field(slice(0, 3), slice(0, 4), (-1.0, 2.0), (5.0, 4.0))
    (table,) = numbers_of(gallery([("530.00 eV", image)], [place], label="optical density"))
    assert table.corner == "optical density: y (um) down and x (um) across"
    np.testing.assert_allclose(table.columns[0].values, [5.0, 4.5, 4.0])
    assert [column.title for column in table.columns[1:]] == ["-1", "0", "1", "2"]
    np.testing.assert_array_equal(np.array([column.values for column in table.columns[1:]]).T, image)
    assert table.name == "530.00 eV"


def test_a_chemical_map_has_fraction_and_uncertainty_and_its_colours():
    reduced, sigma, area = RNG.uniform(size=(4, 5)), np.full((4, 5), 0.1), np.ones((4, 5))
    place = Field(slice(0, 4), slice(0, 5), (0.0, 1.0), (0.0, 1.0))
    figure = chemical_map(reduced, sigma, area, place, names=("reduced", "oxidised"))
    tables = {table.name: table for table in numbers_of(figure)}
    assert list(tables) == ["chemical map", "reduced fraction", "its uncertainty"]
    np.testing.assert_array_equal([c.values for c in tables["reduced fraction"].columns[1:]], reduced.T)
    np.testing.assert_array_equal([c.values for c in tables["its uncertainty"].columns[1:]], sigma.T)
    assert [c.title for c in tables["chemical map"].columns] == ["x (um)", "y (um)", "red", "green", "blue"]


def test_histograms_dots_and_bands_without_a_curve():
    figure, axes = one_panel()
    axes.hist([1.0, 1.2, 3.0], bins=[1.0, 2.0, 4.0])
    axes.scatter([5.0, 6.0], [7.0, 8.0], label="hits")
    axes.fill_between([1.0, 2.0], [0.0, 0.5], [2.0, 3.0], label="limits")
    axes.axvline(2.0)
    (table,) = numbers_of(figure)
    found = columns_of(table)
    assert found["hits: yield (counts)"].tolist() == [7.0, 8.0]
    assert found["limits, lower end"].tolist() == [0.0, 0.5]
    assert found["limits, upper end"].tolist() == [2.0, 3.0]
    assert found["energy (eV), from"].tolist() == [1.0, 2.0]
    assert found["yield (counts)"].tolist() == [2.0, 1.0]
    assert list(table.lines())[1][:2] == ["5", "7"]


def test_times_are_written_as_such():
    when = datetime(2026, 11, 27, 22, 24, tzinfo=UTC).timestamp()
    tables = numbers_of(
        flux(np.array([when, when + 60]), np.array([10.0, 11.0]), np.array([500.0, 499.0]), [False] * 2)
    )
    assert columns_of(tables[0])["time (UTC)"].tolist() == ["2026-11-27T22:24:00+00:00", "2026-11-27T22:25:00+00:00"]
    assert columns_of(tables[1])["ring current (mA)"].tolist() == [500.0, 499.0]
    assert date2num(datetime(1970, 1, 1, tzinfo=UTC)) == 0.0


def test_a_curve_that_is_called_something_is_called_that():
    figure, axes = one_panel()
    (curve,) = axes.plot([1.0, 2.0], [11.0, 12.0])
    drawn_as(curve, "pristine", 10.0)
    (table,) = numbers_of(figure)
    assert columns_of(table)["pristine: yield (counts)"].tolist() == [1.0, 2.0]


def drawn():
    """Three figures: curves, images, a panel with a twin."""
    place = Field(slice(0, 8), slice(0, 8), (0.0, 1.0), (0.0, 1.0))
    images = [(f"{energy} eV", np.arange(64.0).reshape(8, 8) + energy) for energy in range(6)]
    values = np.linspace(0, 1, 40)
    yields = {"TEY": (values, values / 10), "TFY": (values, values / 10)}
    yield "Spectra", "with bands", absorption(np.arange(40.0), yields, title="scan 1", label="normalised absorption")
    yield "Images", "on one scale", gallery(images, [place] * 6, label="optical density")
    yield "Flux", "and ring current", flux(1e9 + np.arange(9.0), np.arange(9.0), np.ones(9), [False] * 9)


@pytest.mark.long
@pytest.mark.parametrize("file_format", ["svg", "pdf", "png"])
def test_the_same_figures_are_the_same_files_byte_for_byte(tmp_path, file_format):
    style = FigureStyle(file_format, width=85.0, font_size=7.0)
    files = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        written = write_figures(drawn(), tmp_path / name, style)
        files.append({path.name: path.read_bytes() for path in written})
    assert files[0] == files[1]
    assert [name for name in files[0] if not name.endswith("csv")] == [
        f"01-spectra.{file_format}", f"02-images.{file_format}", f"03-flux.{file_format}",
    ]  # fmt: skip
    assert [name for name in files[0] if name.startswith("01") and name.endswith("csv")] == [
        "01-spectra-a.csv",
        "01-spectra-b.csv",
    ]


@pytest.mark.long
def test_tables_say_what_they_are_of_and_have_units(tmp_path):
    write_figures(drawn(), tmp_path, FigureStyle("svg"))
    text = (tmp_path / "01-spectra-a.csv").read_text(encoding="utf-8")
    assert text.startswith("# Spectra\n# with bands\n# scan 1\nexcitation energy (eV),TEY: normalised absorption,")
    titles, numbers = read(tmp_path / "02-images-c.csv")
    assert titles[0] == "optical density: y (um) down and x (um) across"
    np.testing.assert_array_equal(numbers[:, 1:], np.arange(64.0).reshape(8, 8) + 2)


@pytest.mark.long
@pytest.mark.parametrize("width", [85.0, 180.0])
def test_texts_stay_texts_of_the_size_and_width_asked_for(tmp_path, width):
    write_figures(drawn(), tmp_path, FigureStyle("svg", width, font="DejaVu Serif", font_size=7.0))
    text = (tmp_path / "01-spectra.svg").read_text(encoding="utf-8")
    assert ">excitation energy (eV)</text>" in text
    assert "font-size: 7px; font-family: 'DejaVu Serif'" in text
    points = float(re.search(r'width="([0-9.]+)pt"', text)[1])
    assert points == pytest.approx(width / 25.4 * 72, abs=0.01)


@pytest.mark.long
def test_a_pdf_holds_its_fonts_as_outlines_that_programs_can_edit(tmp_path):
    write_figures(drawn(), tmp_path, FigureStyle("pdf"))
    content = (tmp_path / "01-spectra.pdf").read_bytes()
    assert b"/CIDFontType2" in content or b"/TrueType" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


@pytest.mark.long
@pytest.mark.parametrize("width", [85.0, 180.0])
def test_nothing_is_cut_and_panels_do_not_overlap(width):
    for heading, _, figure in drawn():
        restyle(figure, FigureStyle(width=width, font_size=7.0))
        figure.draw_without_rendering()
        inside = figure.bbox.padded(1.0)
        panels = [axes for axes in figure.findobj(Axes) if axes.get_visible()]
        boxes = [axes.get_tightbbox() for axes in panels]
        for box in boxes:
            assert min(box.x0 - inside.x0, box.y0 - inside.y0) >= 0, heading
            assert min(inside.x1 - box.x1, inside.y1 - box.y1) >= 0, heading
        for place, (axes, box) in enumerate(zip(panels, boxes, strict=True)):
            for other, another in zip(panels[:place], boxes[:place], strict=True):
                twins = np.allclose(axes.get_position().bounds, other.get_position().bounds)
                assert twins or not box.overlaps(another.padded(-1.0)), heading


@pytest.mark.long
def test_narrow_figures_have_fewer_panels_beside_one_another():
    for width, columns in ((180.0, 3), (85.0, 2)):
        figure = list(drawn())[1][2]
        restyle(figure, FigureStyle(width=width, font_size=7.0))
        panels = [axes for axes in figure.axes if axes.get_title()]
        assert len({axes.get_subplotspec().colspan.start for axes in panels}) == columns
        order = sorted(panels, key=lambda axes: (-round(axes.get_position().y0, 2), axes.get_position().x0))
        assert [axes.get_title() for axes in order] == [f"{energy} eV" for energy in range(6)]


@pytest.mark.long
def test_colours_are_those_of_the_palette_and_grey_is_grey():
    def colours(name):
        figure, axes = one_panel()
        axes.plot([1, 2], color="#1b6ca8")
        axes.plot([2, 3], color="#d1495b")
        axes.fill_between([0, 1], [1, 2], [2, 3], color="#1b6ca8", alpha=0.3)
        image = axes.imshow(np.eye(2), cmap="viridis")
        restyle(figure, FigureStyle(colours=name))
        assert bool(axes.patch.get_hatch()) == (name == "grey")  # what has no value looks like no value
        return [line.get_color() for line in axes.get_lines()], axes.collections[0], image.get_cmap().name

    lines, band, name = colours("colour-blind")
    assert (lines, name) == (["#0072b2", "#d55e00"], "cividis")
    assert band.get_facecolor()[0][:3].round(3).tolist() == pytest.approx(to_rgb("#0072b2"), abs=1e-3)
    assert band.get_facecolor()[0][3] == pytest.approx(0.3)
    lines, _, name = colours("grey")
    assert all(len(set(to_rgb(colour))) == 1 for colour in lines)
    assert name == "gray"
    assert colours("standard")[0] == ["#1b6ca8", "#d1495b"]


@pytest.mark.long
@pytest.mark.parametrize("width", [85.0, 180.0])
def test_the_key_of_a_mask_keeps_the_colours_of_the_mask(width):
    mask, place = np.array([[0, 1], [4, 5]]), Field(slice(0, 2), slice(0, 2), (0.0, 1.0), (0.0, 1.0))
    reasons = ["good", "not measured", "drifted out", "opaque", "saturated", "low edge jump"]
    figure = pixel_masks(np.eye(2), mask > 4, mask, reasons, place)
    restyle(figure, FigureStyle(width=width, colours="grey"))
    _, right = (axes for axes in figure.axes if axes.get_title())
    shown = {
        text.get_text(): handle
        for text, handle in zip(right.get_legend().get_texts(), right.get_legend().legend_handles, strict=True)
    }
    image = right.get_images()[0]
    for number in (0, 1, 4, 5):
        drawn = image.cmap(image.norm(number))[:3]
        assert to_rgb(shown[f"{reasons[number]} (1)"].get_markerfacecolor()) == pytest.approx(drawn, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"font": "Dejavu Sanss"}, "font 'Dejavu Sanss': is not on this computer; did you mean 'DejaVu Sans'?"),
        ({"width": 10.0}, "figure width 10 mm: expected 40 to 400 mm"),
        ({"width": float("nan")}, "figure width nan mm: expected 40 to 400 mm"),
        ({"font_size": 1.0}, "font size 1 pt: expected 4 to 24 pt"),
        ({"format": "gif"}, "figure format 'gif': expected pdf, svg, png"),
        ({"colours": "pink"}, "colours 'pink': expected standard, colour-blind, grey"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(options, said):
    with pytest.raises(BeamlineError, match=re.escape(said)):
        FigureStyle(**options)


@pytest.mark.long
def test_the_files_of_a_report_hold_what_the_result_holds(tmp_path):
    with closing(reducing_session(load_config(), tmp_path / "data")) as session:
        regions = "520:526:0.5, 526:535:0.25, 535:560:1"
        measure(session, xas(session.endstation, regions, 0.5, sample="carbon", edge="O K"))
        session.drain()
    runs = Runs(tmp_path / "data")
    style = FigureStyle("svg", 85.0)
    page = write_report(runs, "-1", tmp_path / "report.html", figures=tmp_path / "figures", style=style)
    assert page.exists()
    _, derived = runs.load_with_derived("-1")
    result = derived.read(XasResult)
    titles, numbers = read(tmp_path / "figures" / "01-absorption-spectra-a.csv")
    assert titles[1] == "TEY: normalised absorption"
    spectrum = result.spectra["tey"]
    for column, values in enumerate((result.xas_energy, spectrum.normalised, spectrum.sigma)):
        np.testing.assert_allclose(numbers[:, column], values, rtol=1e-8, atol=1e-12)
    again = write_report(runs, "-1", page, figures=tmp_path / "again", style=style, overwrite=True)
    assert again == page
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    common = [
        "report",
        "-1",
        "--data-dir",
        tmp_path / "data",
        "-o",
        tmp_path / "cli.html",
        "--figures",
        tmp_path / "cli",
    ]
    options = ["--figure-format", "svg", "--width", "85", "--json"]
    assert as_json(*common, *options) == {"report": str(tmp_path / "cli.html"), "figures": str(tmp_path / "cli")}
    assert (tmp_path / "cli" / "01-absorption-spectra-a.csv").exists()
    (tmp_path / "cli.html").unlink()
    said = beamline(*common, "--font", "No Such Font", expect=1)
    assert said.startswith("beamline: font 'No Such Font': is not on this computer; ")
    assert said.count("\n") == 1
    assert not (tmp_path / "cli.html").exists()
