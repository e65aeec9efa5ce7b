"""Whatever is done to a file, an import gives documents that can be recorded, or one line."""

import itertools
import os
import random
import shutil
import signal

import h5py
import mutations
import numpy as np
import pytest
from exported import rixs_documents, xas_documents
from small_scans import write_irixs, write_sdf, write_sdf_points
from stxm_documents import events, stack, stxm_documents

from beamline.errors import BeamlineError
from beamline.formats.exporters.nexus import write_nexus
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.importers import apart
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.irixs import irixs_documents
from beamline.formats.importers.nexus import nexus_documents
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.sdf import sdf_documents
from beamline.storage.log import pack
from callbacks.contract import Key

SEEDS = range(40)  # of each kind; more are tried by the harness of the whole program
COUNTS = np.arange(24.0).reshape(2, 3, 4)


def answer(documents):
    """Give the documents, which must be ones that can be recorded, or the line of the refusal."""
    try:
        found = list(documents)
    except BeamlineError as error:
        lines = [str(error)]
    else:
        for name, doc in found:
            pack(name, doc)
        lines = found[0][1]["import_problems"]
        stop = found[-1][1]
        assert (stop["exit_status"] == "success") == (stop["reason"] == "")
    for line in lines:
        assert line.replace("\xa0", " ").isprintable(), repr(line)
        assert len(line) < 1000, line
    return lines


def write_stack(path):
    documents = stxm_documents(COUNTS, [700.0, 701.0], np.arange(4.0), np.arange(3.0))
    write_nxstxm(path, documents, None)
    return documents


def test_a_mutated_log_or_frame_is_imported_or_named(tmp_path):
    whole = write_irixs(tmp_path / "whole")
    for seed in SEEDS:
        rng = random.Random(seed)
        scan = shutil.copytree(whole, tmp_path / f"{seed}")
        path = rng.choice([scan / "cox7-AI.txt"] * 3 + sorted((scan / "Andor").iterdir()))
        mutations.mutate_file(path, rng, mutations.TEXT if path.suffix == ".txt" else mutations.BINARY)
        answer(irixs_documents(scan, frames_dir=scan / "frames"))


def test_a_mutated_header_or_text_image_is_imported_or_named(tmp_path):
    whole = write_sdf(tmp_path / "whole")
    for seed in SEEDS:
        rng = random.Random(seed)
        scan = shutil.copytree(whole, tmp_path / f"{seed}")
        path = rng.choice([scan / "s7.hdr"] * 3 + sorted(scan.glob("*.xim")))
        mutations.mutate_file(path, rng, mutations.TEXT)
        answer(sdf_documents(scan))


def test_a_mutated_header_or_table_of_point_spectra_is_imported_or_named(tmp_path):
    whole = write_sdf_points(tmp_path / "whole")
    assert len(answer(sdf_documents(whole))) == 3  # the zone of its times, and what its detectors are taken for
    for seed in SEEDS:
        rng = random.Random(seed)
        scan = shutil.copytree(whole, tmp_path / f"{seed}")
        path = rng.choice([scan / "s8.hdr", *sorted(scan.glob("*.xsp"))])
        mutations.mutate_file(path, rng, mutations.TEXT)
        answer(sdf_documents(scan))


@pytest.mark.long
@pytest.mark.parametrize("scan_type", ["Sample", "", "Image", "sample point spectrum"])
def test_a_file_of_another_dialect_with_other_objects_is_imported_or_named(scan_type, tmp_path):
    write_stack(tmp_path / "a1.hdf5")
    put(tmp_path / "a1.hdf5", "entry1/counter0/stxm_scan_type", scan_type)
    put(tmp_path / "a1.hdf5", "entry1/definition", "2.1")
    for seed in SEEDS[::8]:
        path = shutil.copy(tmp_path / "a1.hdf5", tmp_path / f"b{seed}.hdf5")
        mutations.mutate_hdf5(path, random.Random(seed))
        answer(nxstxm_documents(path))


@pytest.mark.long
def test_a_hdf5_file_with_other_objects_is_imported_or_named(tmp_path):
    write_stack(tmp_path / "a1.hdf5")
    for seed in SEEDS[::2]:
        path = shutil.copy(tmp_path / "a1.hdf5", tmp_path / f"b{seed}.hdf5")
        mutations.mutate_hdf5(path, random.Random(seed))
        answer(nxstxm_documents(path))


@pytest.mark.long
def test_a_hdf5_file_with_other_bytes_is_imported_or_named(tmp_path):
    write_stack(tmp_path / "a1.hdf5")
    data = (tmp_path / "a1.hdf5").read_bytes()
    path = tmp_path / "b.hdf5"
    for seed in SEEDS[::2]:
        path.write_bytes(mutations.mutate(data, random.Random(seed), (mutations.overwrite, mutations.cut), 1))
        answer(nxstxm_documents(path))


@pytest.mark.long
def test_an_exported_run_with_other_objects_or_bytes_is_imported_or_named(tmp_path):
    documents = rixs_documents(tmp_path / "frames.h5")
    write_nexus(tmp_path / "a.nxs", documents, None, [])
    data = (tmp_path / "a.nxs").read_bytes()
    path = tmp_path / "b.nxs"
    for seed in SEEDS[::2]:
        rng = random.Random(seed)
        if seed % 4:
            path.write_bytes(mutations.mutate(data, rng, (mutations.overwrite, mutations.cut), 1))
        else:
            shutil.copy(tmp_path / "a.nxs", path)
            mutations.mutate_hdf5(path, rng)
        answer(nexus_documents(path, frames_dir=tmp_path / "new"))


@pytest.mark.long
def test_documents_of_an_exported_run_with_other_text_are_imported_or_named(tmp_path):
    write_nexus(tmp_path / "a.nxs", xas_documents(points=5), None, [])
    with h5py.File(tmp_path / "a.nxs") as file:
        text = bytes(file["entry/documents/data"][()])
    imported = 0
    for seed in range(60):
        path = shutil.copy(tmp_path / "a.nxs", tmp_path / "b.nxs")
        changed = mutations.mutate(text, random.Random(seed), mutations.TEXT, 1)
        put(path, "entry/documents/data", np.frombuffer(changed, np.uint8))
        lines = answer(nexus_documents(path, frames_dir=tmp_path))
        imported += not lines or str(path) not in lines[0]
    assert 0 < imported < 60


def test_a_crash_of_the_library_or_a_loop_without_end_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "7.hdf5").write_bytes(b"x")
    with pytest.raises(BeamlineError, match=r"7.hdf5: cannot be read: it is damaged in a way that crashes .*SIGSEGV"):
        read_apart(tmp_path / "7.hdf5", lambda: os.kill(os.getpid(), signal.SIGSEGV))
    with pytest.raises(BeamlineError, match=r"7.hdf5: cannot be read: KeyError: 'energy'$"):
        read_apart(tmp_path / "7.hdf5", lambda: {}["energy"])
    monkeypatch.setattr(apart, "TIME", 0.0)
    monkeypatch.setattr(apart, "PATIENCE", 1e9)
    with pytest.raises(BeamlineError, match=r"7.hdf5: cannot be read: it is damaged, and reading it takes too long"):
        read_apart(tmp_path / "7.hdf5", lambda: sum(itertools.count()))
    monkeypatch.setattr(apart, "PATIENCE", 0.0)
    with pytest.raises(BeamlineError, match=r"7.hdf5: cannot be read: it is damaged, and reading it takes too long"):
        read_apart(tmp_path / "7.hdf5", signal.pause)


def test_a_heap_that_the_library_reads_without_end_is_named(tmp_path):
    write_stack(tmp_path / "7.hdf5")
    data = bytearray((tmp_path / "7.hdf5").read_bytes())
    first = data.index(b"GCOL") + 16
    data[first : first + 16] = bytes(16)
    (tmp_path / "7.hdf5").write_bytes(data)
    with pytest.raises(
        BeamlineError,
        match=rf"7.hdf5: cannot be read: damaged at byte {first}: an object of 0 bytes in a heap of 4,096",
    ):
        list(nxstxm_documents(tmp_path / "7.hdf5"))


@pytest.mark.parametrize("cut", [b"", b"GCOL\x01\0\0\0", b"GCOL\x01\0\0\0" + (4096).to_bytes(8, "little")])
def test_a_file_that_ends_before_or_in_a_heap_is_named(cut, tmp_path):
    (tmp_path / "7.hdf5").write_bytes(cut)
    with pytest.raises(BeamlineError, match=r"7.hdf5: cannot be read: ") as error:
        list(nxstxm_documents(tmp_path / "7.hdf5"))
    assert "\n" not in str(error.value)


# What can be under a name of a NXstxm file, and what is said of it


@pytest.fixture
def stored(tmp_path):
    write_stack(tmp_path / "7.hdf5")
    return tmp_path / "7.hdf5"


def put(path, name, value, **attributes):
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value
        if attributes:
            file[name].attrs.update(attributes)


AXIS = "entry1/counter0/sample_x"


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), "expected numbers"),
        (h5py.Empty("f8"), "empty, it has no value"),
        (np.zeros((0,)), "shape (0,), expected a list"),
        (np.arange(4) * 1j, "values of the type complex128, expected numbers"),
        ("text", "expected numbers"),
        (np.zeros((2, 2)), "shape (2, 2), expected a list"),
        (np.array([0.0, 1.0, np.nan, 3.0]), "nan um among 4 values"),
        (np.array([0.0, 1.0, 1e300, 3.0]), "1e+300 um among 4 values, expected numbers from -1e+07 to 1e+07 um"),
        (h5py.SoftLink("/nowhere"), "a link to '/nowhere', which does not exist"),
        (h5py.SoftLink(f"/{AXIS}"), "which lead in a circle"),
        (h5py.ExternalLink("none.hdf5", "/x"), "none.hdf5: cannot be read: missing"),
        (
            h5py.ExternalLink("%s.hdf5", "/x"),
            "/entry1/counter0/sample_x: names '%s.hdf5', expected the plain name of a file",
        ),
        (h5py.ExternalLink("a\\x.hdf5", "/x"), "names 'a\\x.hdf5', expected the plain name of a file"),
        (np.dtype("f8"), "/entry1/counter0/sample_x: neither a group nor a dataset"),
        (np.arange(3.0), "does not fit its axes"),
        (None, "/entry1/counter0: no sample_x"),
    ],
)
def test_an_axis_that_is_none_is_refused_with_what_was_seen(value, message, stored):
    is_link = isinstance(value, h5py.SoftLink | h5py.ExternalLink)
    with h5py.File(stored, "a") as file:
        del file[AXIS]
        if value is not None:
            file[AXIS] = value
            if not is_link:
                file[AXIS].attrs["units"] = "um"
    with pytest.raises(BeamlineError) as error:
        list(nxstxm_documents(stored))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def dark_lines(path, **columns):
    """Add two dark lines, with some of their columns changed."""
    with h5py.File(path, "a") as file:
        table = file.create_group("entry1/dark_lines")
        table.attrs["NX_class"] = "NXcollection"
        known = dict.fromkeys(("stxm_counts", "stxm_dwell", "stxm_x", "stxm_y"), np.ones((2, 4)))
        for name, values in (known | {"time": np.array([1e9, 1e9 + 1])} | columns).items():
            if values is not None:
                table[name] = values


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("lines/time", np.full(5, 1e9), "/entry1/lines: 5 of time for 6 energies and 6 rows of lines"),
        ("lines/row", np.zeros(5), "/entry1/lines: 6 of time for 6 energies and 5 rows of lines"),
        ("lines/row", np.zeros(6), "/entry1/lines: not the lines of the data"),
        ("lines/row", None, "/entry1/lines: no row"),
        ("lines/row", np.full(6, 3), "/entry1/lines/row: expected whole numbers from 0 to 2"),
        ("lines/energy_index", np.full(6, 0.5), "/entry1/lines/energy_index: expected whole numbers from 0 to 1"),
        ("lines/time", np.zeros(0), "/entry1/lines/time: shape (0,), expected at least one value"),
        ("lines/time", h5py.SoftLink("/x"), "/entry1/lines/time: a link to '/x', which does not exist"),
        ("lines/time", np.full(6, -1.0), "/entry1/lines/time: -1 s among 6 values, expected numbers from 0 to"),
        ("counter0/count_time", np.ones(3), "/entry1/counter0/count_time: 3 values, expected 1, 2 or 24"),
        ("control/data", np.ones(5), "/entry1/control/data: 5 values, expected 24"),
        ("instrument/sample_x/data", np.ones(5), "/entry1/instrument/sample_x/data: 5 values, expected 24"),
        (
            *("instrument/counter0/data", h5py.SoftLink("/x")),
            "/entry1/instrument/counter0/data: a link to '/x', which does not exist",
        ),
        ("instrument/counter0/data", "text", "/entry1/instrument/counter0/data: values of the type object"),
        (
            *("instrument/counter0/dead_time", np.ones(2)),
            "/entry1/instrument/counter0/dead_time: shape (2,), expected one number",
        ),
        ("title", np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), "/entry1/title: shape (1,) of the type [('a'"),
        ("title", np.zeros(1001), "/entry1/title: shape (1001,) of the type float64, expected a text"),
        (
            "sample/name",
            np.zeros((), "S10000001"),
            "/entry1/sample/name: 10,000,001 bytes, expected at most 10,000,000",
        ),
        ("dead", h5py.SoftLink("/x"), "/entry1/dead: a link to '/x', which does not exist"),
        ("dark_lines", 1.0, "/entry1/dark_lines: a dataset, expected a group"),
    ],
)
def test_what_a_scan_can_do_without_is_left_out_and_named_where_it_is_wrong(name, value, problem, stored):
    put(stored, f"entry1/{name}", value)
    documents = list(nxstxm_documents(stored))
    (named,) = (one for one in documents[0][1]["import_problems"] if one.startswith(problem))
    assert named.endswith("; left out")
    np.testing.assert_array_equal(stack(documents), COUNTS)
    np.testing.assert_array_equal(events(documents)[2]["data"][Key.STXM_X], np.arange(4.0))


@pytest.mark.long
@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, None),
        ({"stxm_x": None, "time": None}, "/entry1/dark_lines: no stxm_x, time"),
        (
            {"stxm_x": np.ones((2, 3))},
            "/entry1/dark_lines/stxm_x: shape (2, 3), does not fit counts of the shape (2, 4)",
        ),
        ({"time": np.ones(3)}, "/entry1/dark_lines/time: shape (3,), does not fit counts of the shape (2, 4)"),
        ({"time": np.zeros(0)}, "/entry1/dark_lines/time: shape (0,), expected at least one value"),
        ({"time": np.array([1e9, np.nan])}, "/entry1/dark_lines/time: nan s among 2 values"),
        ({"stxm_counts": np.ones(2)}, "/entry1/dark_lines/stxm_counts: shape (2,), does not fit"),
    ],
)
def test_dark_lines_that_do_not_fit_together_are_left_out_as_a_whole(columns, problem, stored):
    dark_lines(stored, **columns)
    documents = list(nxstxm_documents(stored))
    problems = [one for one in documents[0][1]["import_problems"] if "no unit" not in one]
    assert [one.startswith(problem) for one in problems] == ([] if problem is None else [True])
    assert documents[-1][1]["num_events"] == ({"primary": 6} if problem else {"dark": 2, "primary": 6})


def test_a_group_where_a_dataset_is_expected_and_the_other_way_round(stored):
    with h5py.File(stored, "a") as file:
        del file["entry1/instrument/monochromator/energy"], file["entry1/control/data"]
        file.create_group("entry1/instrument/monochromator/energy")
        file.create_group("entry1/control/data")
        del file["entry1/lines"]
        file["entry1/lines"] = 1.0
    documents = list(nxstxm_documents(stored))
    assert documents[0][1]["import_problems"] == [
        "/entry1/lines: a dataset, expected a group; left out",
        "/entry1/instrument/monochromator/energy: a group, expected a dataset; left out",
        "/entry1/control/data: a group, expected a dataset; left out",
    ]
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert events(documents)[1]["data"][Key.ENERGY] == 700.0
    assert np.isnan(events(documents)[1]["data"][Key.RING_CURRENT])


def test_what_is_left_out_is_counted_and_the_rest_is_kept(stored):
    put(stored, "entry1/counter0/energy", [700.0, -1.0], units="eV")
    with pytest.raises(BeamlineError, match=r"energy: -1 eV among 2 values, expected numbers from 0 to 1e\+06 eV"):
        list(nxstxm_documents(stored))
    put(stored, "entry1/counter0/energy", [0.7, 0.701], units="keV")
    impossible = {5: np.inf, 6: 1e300, 7: -5.0}
    put(stored, "entry1/counter0/data", np.vectorize(lambda one: impossible.get(one, one))(COUNTS), units="counts")
    put(stored, "entry1/instrument/counter0/count_time", [1.0, 2.0], units="s")
    put(stored, "entry1/instrument/counter0/counter_divider", 0.0)
    put(stored, "entry1/instrument/counter0/data", COUNTS.ravel(), units="counts")
    with h5py.File(stored, "a") as file:
        for name in ("counter1", "counter2"):
            file.create_group(f"entry1/{name}").attrs["NX_class"] = "NXdata"
        file.create_group("other").attrs["NX_class"] = "NXentry"
        file["other/definition"] = "NX\x1btomo"
    documents = list(nxstxm_documents(stored))
    assert documents[0][1]["import_problems"] == [
        "/other: definition is 'NX\\x1btomo', not NXstxm; left out",
        "/entry1: 1 of 3 NXdata groups is imported, counter0; left out: counter1, counter2",
        "/entry1/counter0/data: 2 of 24 counts are beyond 9.0072e+15, such as inf; taken for not measured",
        "/entry1/instrument/counter0: not in the order of /entry1/counter0; positions are those of its axes",
        "/entry1/instrument/counter0/counter_divider: 0; left out",
        "1 of 24 counts are negative, down to -5; kept as they are",
    ]


def test_a_region_that_cannot_be_read_costs_only_itself(tmp_path):
    regions = [np.arange(4.0), np.arange(4.0) + 9]
    documents = stxm_documents([COUNTS, COUNTS[:, :2]], [700.0, 701.0], regions, [np.arange(3.0), np.arange(2.0)])
    write_nxstxm(tmp_path / "7.hdf5", documents, None)
    put(tmp_path / "7.hdf5", "entry2/counter0/data", "text")
    found = list(nxstxm_documents(tmp_path / "7.hdf5"))
    assert "entry2/counter0/data: shape () does not fit" in " ".join(found[0][1]["import_problems"])
    assert "1 of 2 entries left out" in " ".join(found[0][1]["import_problems"])
    assert (found[-1][1]["exit_status"], found[-1][1]["reason"]) == ("abort", "1 of 2 entries cannot be read")
    np.testing.assert_array_equal(stack(found), COUNTS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1, 2", "start_document: Expecting ',' delimiter"),
        ("[" * 100_000, "start_document: maximum recursion depth exceeded"),
        ('{"scan_id": [1]}', "start_document: scan_id is '[1]'; left out"),
        ('{"scan_id": 9223372036854775808}', "scan_id is '9223372036854775808'; left out"),
        ('{"measurement": 3}', "start_document: measurement: Input should be a valid dictionary"),
        ("7", "start_document: no document"),
    ],
)
def test_a_start_document_that_is_none_is_left_out(text, problem, stored):
    put(stored, "entry1/start_document/data", text)
    documents = list(nxstxm_documents(stored))
    assert problem in documents[0][1]["import_problems"][0]
    assert documents[0][1]["scan_id"] == 7
    np.testing.assert_array_equal(stack(documents), COUNTS)


def test_a_measurement_that_is_not_that_of_the_data_gives_way_to_the_axes(stored):
    put(stored, AXIS, np.arange(4.0) + 100, units="um")
    _, start = next(nxstxm_documents(stored))
    assert start["measurement"]["grid"]["regions"][0]["x"] == (100.0, 103.0)
    assert "its measurement is not that of the data" in start["import_problems"][0]
    put(stored, AXIS, np.arange(4.0), units="um")
    put(stored, "entry1/counter0/energy_setpoint", [800.0, 801.0], units="eV")
    _, start = next(nxstxm_documents(stored))
    assert start["measurement"]["grid"]["energies"] == [800.0, 801.0]
    assert "its measurement is not that of the data" in start["import_problems"][0]


def test_a_ring_current_of_the_measured_lines_alone_is_that_of_each(tmp_path):
    documents = stxm_documents(COUNTS, [700.0, 701.0], np.arange(4.0), np.arange(3.0), lines=4)
    write_nxstxm(tmp_path / "7.hdf5", documents, None)
    put(tmp_path / "7.hdf5", "entry1/control/data", np.repeat([400.0, 401.0, 402.0, 403.0], 4), units="mA")
    found = events(list(nxstxm_documents(tmp_path / "7.hdf5")))
    assert [event["data"][Key.RING_CURRENT] for event in found.values()] == [400.0, 401.0, 402.0, 403.0]


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)])
def test_a_dwell_of_each_point_is_that_of_the_point(shape, stored):
    dwell = np.arange(1.0, 25.0)
    put(stored, "entry1/counter0/count_time", dwell.reshape(shape), units="ms")
    with h5py.File(stored, "a") as file:
        del file["entry1/instrument"]
    documents = list(nxstxm_documents(stored))
    np.testing.assert_allclose(stack(documents, Key.STXM_DWELL), dwell.reshape(2, 3, 4) / 1e3, rtol=1e-15)


def test_repeated_energies_are_images_of_their_own(tmp_path):
    documents = stxm_documents(COUNTS, [700.0, 700.0], np.arange(4.0), np.arange(3.0))
    write_nxstxm(tmp_path / "7.hdf5", documents, None)
    np.testing.assert_array_equal(stack(list(nxstxm_documents(tmp_path / "7.hdf5"))), COUNTS)
