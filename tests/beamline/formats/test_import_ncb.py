"""Import of stacks of aXis2000, as its and MANTiS' writers leave them, and with each fault."""

import os
import random
from contextlib import suppress

import mutations
import numpy as np
import pytest
from stxm_documents import events, stack

from beamline.errors import BeamlineError
from beamline.formats.importers.ncb import ncb_documents, recognises_ncb
from callbacks.contract import MEASUREMENT, Key, Measurement

ENERGIES = [700.0, 705.5, 708.1]
COUNTS = np.arange(3 * 2 * 4, dtype=float).reshape(3, 2, 4) * 100 + 1000


def write(folder, counts=COUNTS, *, scale=1.0, stem="s1", x=(0.0, 1.5), y=(0.0, 0.5), names=True):
    """A stack as MANTiS writes it: whole numbers by the scale, or floats where it is negative."""
    data = counts.astype("<f4") if scale < 0 else (counts * scale).astype("<i2")
    (folder / f"{stem}.ncb").write_bytes(data.tobytes())
    energies, rows, columns = counts.shape
    lines = [
        f"\t{columns}\t{rows}\t{scale:.6f}",
        f"\t{x[0]:.6f}\t{x[1]:.6f}",
        f"\t{y[0]:.6f}\t{y[1]:.6f}",
        f"\t{energies}",
    ]
    lines += [f"\t{energy:.6f}" for energy in ENERGIES[:energies]]
    if names:
        lines += [f"image {n + 1}\t{energy:.6f}\t2.500000" for n, energy in enumerate(ENERGIES[:energies])]
    (folder / f"{stem}.dat").write_text("\n".join(lines) + "\n")
    return folder / f"{stem}.ncb"


def imported(path):
    documents = list(ncb_documents(path))
    return documents, Measurement.model_validate(documents[0][1][MEASUREMENT]), documents[0][1]["import_problems"]


@pytest.mark.parametrize(("scale", "counts"), [(1.0, COUNTS), (10.0, COUNTS / 10 + 0.1), (-1.0, COUNTS + 0.25)])
def test_a_stack_is_read_by_its_scale(scale, counts, tmp_path):
    path = write(tmp_path, counts, scale=scale)
    os.utime(path, (1e9, 1e9))
    documents, measurement, problems = imported(path)
    np.testing.assert_allclose(stack(documents), counts, rtol=1e-12)
    found = events(documents)
    assert (measurement.technique, measurement.exposure_time, measurement.grid.energies) == ("stxm", 2.5e-3, ENERGIES)
    np.testing.assert_allclose(found[2]["data"][Key.STXM_X], [0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(found[2]["data"][Key.STXM_Y], [0.5] * 4)
    assert found[1]["time"] == 1e9
    assert problems == [
        "s1.ncb: the form has no unit; taken for counts",
        "s1.ncb: the form has no time; that of the file stands for it",
    ]


def test_either_of_the_two_files_can_be_named_and_is_recognised(tmp_path):
    path = write(tmp_path)
    np.testing.assert_array_equal(stack(imported(path.with_suffix(".dat"))[0]), COUNTS)
    assert recognises_ncb(path)
    assert recognises_ncb(path.with_suffix(".dat"))
    assert not recognises_ncb(tmp_path / "none.ncb")
    path.unlink()
    assert not recognises_ncb(path.with_suffix(".dat"))  # any text can be called .dat


def test_positions_that_descend_stay_with_their_pixels(tmp_path):
    documents, _, _ = imported(write(tmp_path, x=(1.5, 0.0)))
    np.testing.assert_array_equal(stack(documents), COUNTS)
    np.testing.assert_allclose(events(documents)[1]["data"][Key.STXM_X], [1.5, 1.0, 0.5, 0.0])


def test_a_stack_without_the_names_of_its_images_has_no_dwell(tmp_path):
    documents, measurement, problems = imported(write(tmp_path, names=False))
    assert np.isnan(measurement.exposure_time)
    assert np.isnan(stack(documents, Key.STXM_DWELL)).all()
    assert problems[-2] == "s1.dat: 3 of 3 images have no dwell"
    assert problems[-1].startswith("no dwell: taken for the same for all pixels, I0 is in counts")


def edit(path, old, new):
    text = path.with_suffix(".dat").read_text()
    assert old in text
    path.with_suffix(".dat").write_text(text.replace(old, new, 1))


def test_an_image_that_is_named_with_another_energy_than_the_axis_has_is_said(tmp_path):
    path = write(tmp_path)
    edit(path, "image 3\t708.1", "image 3\t718.1")
    assert imported(path)[2][-1] == (
        "s1.dat: 1 of 3 images are named with another energy than the axis has, such as 718.1 eV for 708.1 eV; "
        "the axis is taken"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t4\t2\t1.000000", "\t4\t2", "line 1: '4 2', expected columns, rows and scale"),
        ("\t4\t2\t1.000000", "\t4.5\t2\t1", "4.5 columns, 2 rows, scale 1"),
        ("\t4\t2\t1.000000", "\t4\t2\t0", "scale 0"),
        ("\t4\t2\t1.000000", "\t99999\t99999\t1", "points, expected at most"),
        ("\t4\t2\t1.000000", "\t4\t2\t-1", "48 bytes, expected 96 for 3 images of 4 x 2 pixels, scale -1"),
        ("\t4\t2\t1.000000", "\t3\t2\t1", "48 bytes, expected at most 36 for 3 images of 3 x 2 pixels"),
        ("\t0.000000\t1.500000", "\tleft\tright", "line 2: 'left right', expected the first and the last x"),
        ("\t0.000000\t1.500000", "\t0\t1e9", r"positions: 1e\+09 um among 4 values"),
        ("\n\t3\n", "\n\t3.5\n", "3.5 images"),
        ("\n\t3\n", "\n\t1e30\n", "lines, expected at most"),
        ("\t705.500000", "\t-705", "energies: -705 eV among 3 values"),
        ("\t708.100000", "\tnan", "line 7: 'nan', expected one of 3 energies"),
    ],
)
def test_files_that_do_not_fit_one_another_are_refused_in_one_line(old, new, message, tmp_path):
    path = write(tmp_path)
    edit(path, old, new)
    with pytest.raises(BeamlineError, match=message) as error:
        imported(path)
    assert "\n" not in str(error.value)


def test_a_stack_of_optical_density_is_no_raw_data(tmp_path):
    path = write(tmp_path, COUNTS / 2000 - 0.6, scale=-1.0)
    with pytest.raises(BeamlineError, match=r"numbers from -0.1 to 1.05 are no counts, but can be optical densities"):
        imported(path)


@pytest.mark.parametrize("ending", [".dat", ".ncb"])
def test_a_missing_file_is_named(ending, tmp_path):
    path = write(tmp_path)
    path.with_suffix(ending).unlink()
    with pytest.raises(BeamlineError, match=f"s1{ending}: missing"):
        imported(path)


def test_mutated_files_are_imported_or_named(tmp_path):
    for seed in range(60):
        rng = random.Random(seed)
        path = write(tmp_path)
        mutations.mutate_file(path.with_suffix(rng.choice([".dat", ".dat", ".ncb"])), rng, mutations.TEXT)
        with suppress(BeamlineError):
            documents, _, problems = imported(path)
            assert all(line.isprintable() for line in problems)
            assert documents[-1][0] == "stop"
