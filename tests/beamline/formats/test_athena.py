"""Projects of Athena, in both of their forms: a run for each spectrum."""

import gzip
import json

import numpy as np
import pytest
from xas_files import ENERGY, MU, counted, events_of, imported, reduced

from beamline.errors import BeamlineError
from beamline.formats.importers.athena import LARGEST_PROJECT, athena_documents
from beamline.formats.importers.kinds import kind_of

I0, TEY, IT = counted()
HEAD = "# Athena project file -- Demeter version 0.9.26\n# This file created at 2024-07-05T14:30:10\n# Using Demeter\n"


def perl(name, args=(), **arrays):
    known = {"label": f"{name} of Li\u2082MnO\u2083", "bkg_z": "O", "fft_edge": "k", "is_xmu": "1", **dict(args)}
    words = ",".join(f"'{key}','{value}'" for key, value in known.items())
    lines = [f"$old_group = '{name}';", f"@args = ('titles',['it\\'s','one (of) 2'],'epsk',undef,{words});"]
    lines += [f"@{key} = ({','.join(repr(str(one)) for one in values)});" for key, values in arrays.items()]
    return "\n".join([*lines, "[record]   # create object and set arrays in ifeffit\n"])


def project(path, *groups, packed=True, head=HEAD, tail="\n@journal = {};\n\n1;\n\n# Local Variables:\n"):
    data = f"{head}\n{''.join(groups)}{tail}".encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


TRANSMITTED = perl("aaaa", x=ENERGY, y=np.log(I0 / IT), i0=I0, signal=IT)
YIELD = perl("bbbb", x=ENERGY, y=TEY / I0, i0=I0, signal=TEY)
NOISY = MU + 2e-3 * np.random.default_rng(5).standard_normal(len(MU))
ABSORPTION = perl("cccc", x=ENERGY, y=NOISY)


@pytest.mark.long
@pytest.mark.parametrize("packed", [True, False])
def test_each_group_becomes_a_run_with_what_it_was_measured_by(packed, tmp_path):
    path = project(tmp_path / "a.prj", TRANSMITTED, YIELD, ABSORPTION, packed=packed)
    assert kind_of(path).name == "athena"
    runs = imported(path)
    starts = [run[0][1] for run in runs]
    assert [start["scan_id"] for start in starts] == [1, 2, 3]
    assert [start["sample"]["name"][:4] for start in starts] == ["aaaa", "bbbb", "cccc"]
    assert {start["measurement"]["edge"] for start in starts} == {"O K"}
    assert {start["time"] for start in starts} == {1720189810.0}
    assert starts[0]["athena"]["titles"] == "it's\\none (of) 2"
    assert starts[0]["import_problems"][0] == "@y is ln(@i0/@signal); these stand for it"
    np.testing.assert_array_equal(events_of(runs[0])["transmission"], IT)
    np.testing.assert_array_equal(events_of(runs[1])["signal"], TEY)
    np.testing.assert_array_equal(events_of(runs[2])["mu"], NOISY)
    assert set(events_of(runs[2])["i0"]) == {1.0}
    for run, name in zip(runs, ("transmission", "signal", "mu"), strict=True):
        spectrum = reduced(run).spectra[name]
        assert spectrum.status == "ok"
        assert np.mean(np.abs(spectrum.normalised - reduced(runs[2]).spectra["mu"].normalised) < 0.03) > 0.95


def test_a_project_in_json_is_the_same(tmp_path):
    content = {"_____header1": "# Athena project file -- Demeter version 0.9.26", "_____order": ["cccc", "aaaa"]}
    for name, arrays in (("aaaa", (np.log(I0 / IT), I0, IT)), ("cccc", (NOISY,))):
        given = dict(zip(("y", "i0", "signal"), arrays, strict=False))
        content[name] = {"args": {"label": name, "bkg_eshift": "0.5", "npts": 3}}
        content[name] |= {key: [str(one) for one in values] for key, values in {"x": ENERGY, **given}.items()}
    (tmp_path / "a.prj").write_text(json.dumps(content))
    first, second = imported(tmp_path / "a.prj")
    np.testing.assert_array_equal(events_of(first)["transmission"], IT)
    np.testing.assert_allclose(events_of(second)["energy"], ENERGY + 0.5)
    assert "energies are shifted by 0.5 eV, as in Athena (bkg_eshift)" in second[0][1]["import_problems"]


def test_a_group_is_chosen_by_its_label_its_name_or_its_number(tmp_path):
    path = project(tmp_path / "a.prj", TRANSMITTED, YIELD, ABSORPTION)
    for part in ("bbbb", "bbbb of Li\u2082MnO\u2083", "2"):
        (run,) = imported(path, part=part)
        assert run[0][1]["scan_id"] == 2
    with pytest.raises(BeamlineError, match=r"no group 'x'; it has 'aaaa of Li\u2082MnO\u2083', 'bbbb of"):
        imported(path, part="x")


def test_the_deviation_of_merged_scans_is_the_uncertainty(tmp_path):
    (run,) = imported(project(tmp_path / "a.prj", perl("m", x=ENERGY, y=MU, i0=I0, stddev=np.full(len(MU), 0.01))))
    spectrum = reduced(run, {"xas": {"monitor_noise": 0.0}}).spectra["mu"]
    np.testing.assert_allclose(spectrum.over_i0_spectrum_sigma, 0.01)
    assert any(
        line.startswith("@stddev is the standard deviation of the scans") for line in run[0][1]["import_problems"]
    )


@pytest.mark.parametrize("name", ["i0", "signal", "stddev"])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.ones(len(MU) + 3), f"has {len(MU) + 3} values for {len(MU)} energies; left out"),
        ([], f"has 0 values for {len(MU)} energies; left out"),
        ([*MU[:-1], ""], "could not convert string to float: ''; left out"),
    ],
)
def test_an_array_beside_the_spectrum_that_does_not_go_with_it_is_left_out_and_said(name, values, told, tmp_path):
    (run,) = imported(project(tmp_path / "a.prj", perl("m", x=ENERGY, y=NOISY, **{name: values})))
    np.testing.assert_array_equal(events_of(run)["mu"], NOISY)
    assert any(line.startswith(f"@{name}") and line.endswith(told) for line in run[0][1]["import_problems"])


def test_what_stands_behind_a_hash_among_the_arguments_is_read(tmp_path):
    text = perl("m", x=ENERGY, y=NOISY).replace("'epsk',undef", "'xdi_mono',{'d' => '3.1','a' => [1,2]},'xdi_x',{}")
    (run,) = imported(project(tmp_path / "a.prj", text))
    assert run[0][1]["sample"]["name"] == "m of Li\u2082MnO\u2083"
    assert run[0][1]["athena"]["xdi_mono"] == "d\\n3.1\\na\\n1\\n2"


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (perl("x", x=ENERGY, y=MU[:-1]), "its arrays have different lengths: @x has 204, @y has 203"),
        (perl("x", x=ENERGY), "has no @y"),
        (perl("x", y=MU), "has no @x"),
        (perl("x", {"datatype": "chi"}, x=ENERGY, y=MU), "holds chi(k), expected a spectrum over energy"),
        (perl("x", {"is_pixel": "1"}, x=ENERGY, y=MU), "holds pixels, expected a spectrum over energy"),
        (perl("x", x=["one", "two"], y=[1, 2]), "@x: could not convert string to float: 'one'"),
        (perl("x", x=-ENERGY, y=MU), "energy: -520 eV among 204 values"),
        (perl("x", x=[], y=[]), "no energy is a number"),
    ],
)
def test_a_group_that_is_no_spectrum_is_left_out_and_said(group, words, tmp_path):
    (run,) = imported(project(tmp_path / "a.prj", ABSORPTION, group))
    assert words in " | ".join(run[0][1]["import_problems"])
    with pytest.raises(BeamlineError) as error:
        imported(project(tmp_path / "b.prj", group))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_known_of_a_spectrum_that_is_none_of_a_sample_is_said(tmp_path):
    arguments = {"is_nor": "1", "bkg_eshift": "x", "bkg_z": "Fe"}
    (run,) = imported(project(tmp_path / "a.prj", perl("x", arguments, x=ENERGY, y=1.5 * TEY / I0, i0=I0, signal=TEY)))
    said = " | ".join(run[0][1]["import_problems"])
    for words in (
        "it is normalised already, says Athena",
        "bkg_eshift is 'x', expected a number",
        "@y is neither ln(@i0/@signal) nor @signal/@i0; it is taken, and @signal left out",
        "the file names the edge Fe K, which is at 7112.0 eV, and its energies are 520.0 to 565.5 eV",
        "the time is not that of the measurement, which a project does not have",
    ):
        assert words in said


def test_what_is_damaged_or_no_project_is_one_line(tmp_path):
    whole = project(tmp_path / "whole.prj", TRANSMITTED, YIELD).read_bytes()
    cases = {
        "cut.prj": (whole[: len(whole) // 2], "it is damaged: its end is missing"),
        "flipped.prj": (whole[:500] + bytes(50) + whole[550:], "it is damaged: "),
        "other.prj": (gzip.compress(b"# a text\n" * 100), "begins with '# a text"),
        "empty.prj": (gzip.compress(HEAD.encode()), "no group ''; it has none"),
        "broken.prj": (b'{"a": "# Athena project file", ', "cannot be read: Expecting property name"),
        "deep.prj": (b'{"a": "# Athena project file", "b": ' + b"[" * 200_000, "cannot be read: "),
        "none.prj": (b"", "expected 'Athena project file'"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BeamlineError) as error:
            list(athena_documents(tmp_path / name))
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(BeamlineError, match="not a regular file"):
        list(athena_documents(tmp_path))


def test_a_bomb_is_read_no_further_than_a_project_may_be(tmp_path):
    data = HEAD.encode() + b"#" * (LARGEST_PROJECT + 1)
    (tmp_path / "bomb.prj").write_bytes(gzip.compress(data, 9))
    assert (tmp_path / "bomb.prj").stat().st_size < 200_000
    with pytest.raises(BeamlineError, match="more than 100,000,000 bytes when decompressed"):
        imported(tmp_path / "bomb.prj")
