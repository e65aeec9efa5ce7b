"""Files of spectra and frames with any of their bytes changed: imported, or refused in one line; nothing else."""

import random

import mutations
import numpy as np
import pytest
import test_athena
import test_columns
import test_edf
import test_eels
import test_spec
import test_xdi
from xas_files import ENERGY

from beamline.errors import BeamlineError
from beamline.formats.importers.kind import Request
from beamline.formats.importers.kinds import kind_called, kind_of
from beamline.storage.log import pack
from beamline.text import clean

pytestmark = pytest.mark.long

SEEDS, FEW = range(40), range(8)  # the latter of files that are read in a process of their own
COUNTS = np.array(test_columns.TEY)


def write_columns(folder):
    return test_columns.write(folder / "a.dat", [ENERGY[:30], test_columns.I0[:30], COUNTS[:30]], "# energy i0 tey\n")


def write_edf(folder):
    path = folder / "a.edf"
    pairs = zip(test_edf.FRAMES, test_edf.ENERGIES, strict=True)
    path.write_bytes(b"".join(test_edf.block(frame, **test_edf.header(energy)) for frame, energy in pairs))
    return path


FILES = {
    "columns": write_columns,
    "xdi": lambda folder: test_xdi.write(folder / "a.xdi", rows=lambda rows: rows[:30]),
    "athena": lambda folder: test_athena.project(
        folder / "a.prj", test_athena.perl("a", x=ENERGY[:30], y=COUNTS[:30]), packed=False
    ),
    "spec": lambda folder: test_spec.write(folder / "a.spec", test_spec.ALIGNMENT, test_spec.FIRST[:1500] + "\n"),
    "edf": write_edf,
    "eels": lambda folder: test_eels.dm3(folder / "a.dm3", test_eels.CUBE[0, 0, :30]),
}


def answers(path, kind, folder):
    """The lines that an import says, of one kind and of whatever kind the file is taken for."""
    for found in (lambda: kind_called(kind), lambda: kind_of(path)):
        try:
            documents = list(found().documents(Request(path, folder / "frames")))
        except BeamlineError as error:
            yield str(error)
            continue
        for name, doc in documents:
            pack(name, doc)
        assert [name for name, _ in documents].count("start") == [name for name, _ in documents].count("stop") > 0
        for name, doc in documents:
            if name == "start":
                yield from doc["import_problems"]


@pytest.mark.parametrize("kind", FILES)
def test_a_mutated_file_is_imported_or_named(kind, tmp_path):
    whole = FILES[kind](tmp_path).read_bytes()
    path = tmp_path / "mutated"
    binary = kind in ("edf", "eels")
    for seed in FEW if kind == "eels" else SEEDS:
        rng = random.Random(seed)
        path.write_bytes(whole)
        mutations.mutate_file(path, rng, mutations.BINARY if binary else mutations.TEXT)
        for line in answers(path, kind, tmp_path):
            assert clean(line) == line, (seed, line)
            assert len(line) < 1000, (seed, line)
