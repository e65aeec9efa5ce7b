"""What an import may read: nothing outside of the scan's folder, no pipes, nothing absurdly large."""

import os

import h5py
import numpy as np
import pytest
import tifffile
from small_scans import write_irixs, write_sdf
from stxm_documents import stxm_documents

from beamline.errors import BeamlineError
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.importers.inside import LARGEST_TEXT, inside, read_bytes
from beamline.formats.importers.irixs import irixs_documents
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.sdf import sdf_documents


@pytest.fixture
def secret(tmp_path):
    """A folder with files that no import of `tmp_path`/scan may read."""
    folder = tmp_path / "elsewhere"
    write_irixs(folder)
    write_sdf(folder)
    with h5py.File(folder / "secret.hdf5", "w") as file:
        file["data"] = np.arange(24.0)
    (folder / "secret.bin").write_bytes(np.arange(24.0).tobytes())
    return folder


def refused(documents, *words):
    with pytest.raises(BeamlineError) as error:
        list(documents)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 800
    for word in words:
        assert word in text
    return text


def irixs(tmp_path):
    return irixs_documents(tmp_path / "scan", frames_dir=tmp_path / "frames")


@pytest.mark.parametrize(
    "name",
    [
        "../../elsewhere/Andor/cox7-00001",
        "{root}/elsewhere/Andor/cox7-00001",
        "..\\..\\elsewhere\\Andor\\cox7-00001",
        "../Andor/../../elsewhere/Andor/cox7-00001",
        "x\0y",
    ],
)
def test_a_log_cannot_name_a_frame_outside_of_its_folder(name, tmp_path, secret):
    log = write_irixs(tmp_path / "scan") / "cox7-AI.txt"
    named = name.format(root=tmp_path)
    log.write_text(log.read_text().replace("cox7-00002", named))
    refused(irixs(tmp_path), "cox7-AI.txt", "leads out of")
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize("link", ["Andor", "Andor/cox7-00002.tif", "cox7-AI.txt"])
def test_a_link_does_not_lead_an_irixs_import_out_of_its_folder(link, tmp_path, secret):
    target = write_irixs(tmp_path / "scan") / link
    target.rename(tmp_path / "moved")
    target.symlink_to(secret / link)
    refused(irixs(tmp_path), "leads out of")


@pytest.mark.parametrize("link", ["s7_a001.xim", "s7.hdr"])
def test_a_link_does_not_lead_a_sdf_import_out_of_its_folder(link, tmp_path, secret):
    target = write_sdf(tmp_path / "scan") / link
    target.unlink()
    target.symlink_to(secret / link)
    refused(sdf_documents(tmp_path / "scan"), "leads out of")


def test_links_inside_of_the_folder_are_followed(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    (scan / "s7_a001.xim").rename(scan / "kept.txt")
    (scan / "s7_a001.xim").symlink_to("kept.txt")
    assert len(list(sdf_documents(scan))) == 3 + 12
    (tmp_path / "link.hdr").symlink_to(scan / "s7.hdr")  # the user's own
    assert len(list(sdf_documents(tmp_path / "link.hdr"))) == 3 + 12


@pytest.fixture
def nxstxm(tmp_path):
    (tmp_path / "scan").mkdir()
    counts = np.arange(24.0).reshape(2, 3, 4)
    documents = stxm_documents(counts, [700.0, 701.0], np.arange(4.0), np.arange(3.0))
    path = tmp_path / "scan" / "7.hdf5"
    write_nxstxm(path, documents, None)
    return path


def replaced(path, name, put):
    with h5py.File(path, "a") as file:
        del file[name]
        put(file, name)


def external_link(target, inner="/data"):
    def put(file, name):
        file[name] = h5py.ExternalLink(target, inner)

    return put


def external_storage(target):
    def put(file, name):
        file.create_dataset(name, (2, 3, 4), "f8", external=[(target, 0, 192)])

    return put


def virtual(target, inner="/data"):
    def put(file, name):
        layout = h5py.VirtualLayout((2, 3, 4), "f8")
        layout[:] = h5py.VirtualSource(target, inner, (2, 3, 4))
        file.create_virtual_dataset(name, layout)

    return put


@pytest.mark.long
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("way", [external_link, external_storage, virtual])
@pytest.mark.parametrize("name", ["entry1/counter0/data", "entry1/control/data"])  # needed, and not needed
def test_a_hdf5_file_cannot_refer_to_one_outside_of_its_folder(name, way, relative, nxstxm, secret):
    target = secret / ("secret.bin" if way is external_storage else "secret.hdf5")
    replaced(nxstxm, name, way(os.path.relpath(target, nxstxm.parent) if relative else str(target)))
    refused(nxstxm_documents(nxstxm), str(nxstxm.parent), name)


def test_a_link_in_a_linked_file_does_not_lead_out_either(nxstxm, secret):
    with h5py.File(nxstxm.with_name("other.hdf5"), "w") as file:
        file["data"] = h5py.ExternalLink("../elsewhere/secret.hdf5", "/data")
    replaced(nxstxm, "entry1/counter0/data", external_link("other.hdf5"))
    refused(nxstxm_documents(nxstxm), "leads out of")
    (nxstxm.parent / "link.hdf5").symlink_to(secret / "secret.hdf5")
    replaced(nxstxm, "entry1/counter0/data", external_link("link.hdf5"))
    refused(nxstxm_documents(nxstxm), "leads out of")


@pytest.mark.parametrize("way", [external_link, virtual])
def test_files_inside_of_the_folder_are_read(way, nxstxm):
    replaced(nxstxm, "entry1/control/data", way("counts.hdf5"))  # of the same file as the counts
    counts = np.arange(24.0).reshape(2, 3, 4)
    with h5py.File(nxstxm.with_name("counts.hdf5"), "w") as file:
        file["data"] = counts
    replaced(nxstxm, "entry1/counter0/data", way("counts.hdf5"))
    found = [doc["data"]["stxm_counts"] for name, doc in nxstxm_documents(nxstxm) if name == "event"]
    np.testing.assert_array_equal(np.reshape(found, (2, 3, 4)), counts)
    nxstxm.with_name("counts.hdf5").unlink()  # of which HDF5 would make zeros
    refused(nxstxm_documents(nxstxm), "counts.hdf5")


@pytest.mark.parametrize(
    ("source", "inner", "message"),
    [
        ("other.hdf5", "/none", "/entry1/counter0/data: made of '/none' in 'other.hdf5', which does not exist"),
        (".", "/none", "/entry1/counter0/data: made of '/none' in '.', which does not exist"),
        (
            "other.hdf5",
            "/virtual",
            "/entry1/counter0/data: made of '/virtual' in 'other.hdf5', whose values are elsewhere again",
        ),
        (
            "other.hdf5",
            "/external",
            "/entry1/counter0/data: made of '/external' in 'other.hdf5', whose values are elsewhere again",
        ),
        ("other.hdf5", "/", "/entry1/counter0/data: made of '/' in 'other.hdf5': /: a group, expected a dataset"),
    ],
)
def test_a_virtual_dataset_of_which_a_source_has_no_values_is_not_filled_in(source, inner, message, nxstxm):
    with h5py.File(nxstxm.with_name("other.hdf5"), "w") as file:
        virtual("secret.hdf5")(file, "virtual")
        external_storage("secret.bin")(file, "external")
    replaced(nxstxm, "entry1/counter0/data", virtual(source, inner))
    refused(nxstxm_documents(nxstxm), message)


@pytest.mark.parametrize("name", ["s7.hdr", "s7_a001.xim"])
def test_a_pipe_is_not_waited_for(name, tmp_path):
    scan = write_sdf(tmp_path / "scan")
    (scan / name).unlink()
    os.mkfifo(scan / name)
    if name == "s7.hdr":
        refused(sdf_documents(scan), "not a regular file")
        refused(sdf_documents(scan / name), "not a regular file")
    else:
        _, start = next(sdf_documents(scan))
        assert "s7_a001.xim: not a regular file; 4 lines left out" in start["import_problems"]
    os.mkfifo(tmp_path / "pipe.hdf5")
    refused(nxstxm_documents(tmp_path / "pipe.hdf5"), "not a regular file")
    refused(nxstxm_documents(tmp_path), "not a regular file")
    os.mkfifo(write_irixs(tmp_path / "irixs") / "Andor" / "cox7-00009.tif")
    log = tmp_path / "irixs" / "cox7-AI.txt"
    log.write_text(log.read_text().replace("cox7-00002", "cox7-00009"))
    _, start = next(irixs_documents(tmp_path / "irixs", frames_dir=tmp_path))
    assert "frame 2: cox7-00009.tif: not a regular file" in start["import_problems"]


def test_a_name_is_taken_as_it_is(tmp_path):
    assert inside(tmp_path, "%2e%2e/x", named_by="log") == tmp_path / "%2e%2e" / "x"
    assert inside(tmp_path, "a/../b", named_by="log") == tmp_path / "a/../b"
    for name in ("..", "a/../../b", "/etc/passwd", "a\0"):
        with pytest.raises(BeamlineError, match="leads out of"):
            inside(tmp_path, name, named_by="log")


def test_a_text_that_is_too_large_is_not_read(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    with (scan / "s7_a001.xim").open("r+b") as file:
        file.truncate(10**11)
    _, start = next(sdf_documents(scan))
    (problem,) = (one for one in start["import_problems"] if one.startswith("s7_a001.xim"))
    assert problem == (
        "s7_a001.xim: 100,000,000,000 bytes, expected at most 86,016 for 4 rows of 5 pixels; 4 lines left out"
    )
    for path, documents in (
        (scan / "s7.hdr", sdf_documents(scan)),
        (write_irixs(tmp_path / "irixs") / "cox7-AI.txt", irixs_documents(tmp_path / "irixs", frames_dir=tmp_path)),
    ):
        os.truncate(path, LARGEST_TEXT + 1)
        refused(documents, "10,000,001 bytes, expected at most 10,000,000")


def test_a_file_that_does_not_say_how_large_it_is_is_read_to_the_limit(tmp_path):
    with pytest.raises(ValueError, match=r"expected at most 5$"):
        read_bytes(type(tmp_path)("/proc/self/status"), 5)


def test_a_file_that_cannot_be_looked_at_or_read_is_named_with_the_reason(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for path, reason in (
        (tmp_path / "circle", r"^circle: cannot be read: Too many levels of symbolic links$"),
        (tmp_path / ("x" * 300), r"^x{300}: cannot be read: File name too long$"),
        (type(tmp_path)("/proc/self/mem"), r"^mem: cannot be read: Input/output error$"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_bytes(path, 5)


def test_a_header_cannot_claim_more_points_than_a_scan_can_have(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    many = ", ".join(["1"] * 20_000)
    header = (scan / "s7.hdr").read_text()
    header = header.replace("(5, 0.0, 0.5, 1.0, 1.5, 2.0)", f"(20000, {many})")
    (scan / "s7.hdr").write_text(header.replace("(4, 10.0, 10.25, 10.5, 10.75)", f"(20000, {many})"))
    refused(sdf_documents(scan), "a region: 400,000,000 points, expected at most 100,000,000")


def test_a_header_cannot_claim_more_lines_than_a_scan_can_have(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    header = (scan / "s7.hdr").read_text()
    many = ", ".join(["700"] * 300_000)
    (scan / "s7.hdr").write_text(header.replace("(3, 700.0, 705.5, 720.0)", f"(300000, {many})"))
    refused(sdf_documents(scan), "its images: 1,200,000 lines, expected at most 1,000,000")


def test_what_is_wrong_with_many_images_is_said_of_the_first_and_counted(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    header = (scan / "s7.hdr").read_text()
    many = ", ".join(["700"] * 200)
    blocks = "".join(f"Image{number} = {{ Energy = 750;}};\n" for number in range(2, 202))
    (scan / "s7.hdr").write_text(header.replace("(3, 700.0, 705.5, 720.0)", f"(200, {many})") + blocks)
    for number in range(3, 200):
        (scan / f"s7_a{number:03d}.xim").write_text("1 2 3\n" * 4)
    _, start = next(sdf_documents(scan))
    problems = start["import_problems"]
    assert problems[0] == "197 of 200 images: 197 of another size; 788 of 800 lines left out"
    assert problems[21] == "and 177 more files"
    assert problems[22] == "image 1 to image 2, 2 of them: at 750 eV, where 700 eV was requested"
    assert problems[23:] == ["times have no time zone: taken as those of America/Los_Angeles"]


def test_the_cost_of_a_long_word_is_linear(tmp_path):
    scan = write_sdf(tmp_path / "scan")
    header = (scan / "s7.hdr").read_text()
    (scan / "s7.hdr").write_text(header.replace("333.4", "1" * 2_000_000 + "x"))
    _, start = next(sdf_documents(scan))
    assert start["import_problems"] == ["times have no time zone: taken as those of America/Los_Angeles"]


def test_an_attribute_cannot_claim_more_values_than_a_list_of_axes_can_have(nxstxm):
    with h5py.File(nxstxm, "a") as file:
        file["entry1/counter0"].attrs["axes"] = np.zeros(1001)
    refused(nxstxm_documents(nxstxm), "/entry1/counter0 attribute axes: shape (1001,), expected at most 1000 values")


@pytest.mark.parametrize(
    ("create", "message"),
    [
        ({"shape": (10**6, 10**6, 10**3), "chunks": (1, 1000, 100)}, "does not fit its axes"),
        (
            {"shape": (2, 3, 4), "chunks": (1000, 1000, 100), "maxshape": (None,) * 3},
            "chunks of 100,000,000 values for 24",
        ),
    ],
)
def test_a_dataset_cannot_claim_more_than_it_can_hold(create, message, nxstxm):
    replaced(nxstxm, "entry1/counter0/data", lambda file, name: file.create_dataset(name, dtype="f8", **create))
    refused(nxstxm_documents(nxstxm), message)


def test_an_axis_cannot_claim_more_points_than_a_scan_can_have(nxstxm):
    huge = {"shape": (10**9,), "dtype": "f8", "chunks": (1000,), "compression": "gzip"}
    replaced(nxstxm, "entry1/counter0/sample_x", lambda file, name: file.create_dataset(name, **huge))
    refused(nxstxm_documents(nxstxm), "sample_x: 1,000,000,000 points, expected at most 100,000,000")


def test_a_frame_cannot_claim_more_pixels_than_a_camera_has(tmp_path):
    scan = write_irixs(tmp_path / "scan")
    whole = (scan / "Andor" / "cox7-00002.tif").read_bytes()
    with tifffile.TiffFile(scan / "Andor" / "cox7-00002.tif") as file:
        places = {name: file.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")}
    for size, reason in (
        (1_000_000, "claims 1000000 x 1000000 pixels, expected at most 64,000,000"),
        (5000, "not a whole"),
    ):
        data = bytearray(whole)
        for place in places.values():
            data[place : place + 4] = size.to_bytes(4, "little")
        (scan / "Andor" / "cox7-00002.tif").write_bytes(data)
        _, start = next(irixs(tmp_path))
        assert start["import_problems"][0] == "1 of 4 frames cannot be used"
        assert reason in start["import_problems"][1]
