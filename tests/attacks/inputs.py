"""Give the program inputs that nobody means, and judge its answers.

Run as ``python tests/attacks/inputs.py --inputs 5000 --seed 1``; half an hour. An answer is right when it is exit code
0 with right values, or 1 or 2 with one line that says what was wrong. A traceback, a hang, a file written elsewhere, or
a wrong value with exit code 0 is not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

HELPERS = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HELPERS))

from command_line import answer, answer_of_process  # noqa: E402
from mutations import NUMBERS, PIECES, TEXT, mutate, mutate_file, mutate_hdf5  # noqa: E402
from small_scans import write_irixs, write_sdf  # noqa: E402
from stxm_documents import stxm_documents  # noqa: E402

from beamline.acquire.session import Session, measure  # noqa: E402
from beamline.endstation.config import SIMULATED  # noqa: E402
from beamline.errors import BeamlineError  # noqa: E402
from beamline.formats.exporters.nxstxm import write_nxstxm  # noqa: E402
from beamline.formats.importers.irixs import irixs_documents  # noqa: E402
from beamline.formats.importers.nxstxm import nxstxm_documents  # noqa: E402
from beamline.formats.importers.sdf import sdf_documents  # noqa: E402
from beamline.operations.demonstrate.techniques import simulated  # noqa: E402
from beamline.processes.followers import ingest_now  # noqa: E402
from beamline.storage.layout import REDUCTION, Layout  # noqa: E402
from beamline.storage.runs import Runs  # noqa: E402
from callbacks.contract import Key  # noqa: E402
from plans import rixs_map, stxm_stack, xas  # noqa: E402
from plans.errors import PlanError  # noqa: E402
from plans.regions.energy import EnergyRegions  # noqa: E402
from plans.regions.spatial import StxmRegions  # noqa: E402

VALUES = [text.decode(errors="surrogateescape") for text in (*NUMBERS, *PIECES)]
# The attack may run as root, and an output goes where it is told to go.
HARMLESS = [value for value in VALUES if "/" not in value and "\0" not in value and len(value) < 10_000]


class HangError(BaseException):
    """No answer in time."""


class WrongAnswerError(Exception):
    """Exit code 0, and a value that is not right."""


class Target(ABC):
    """One class of inputs.

    Parameters
    ----------
    folder : Path
        To work in; nothing may be written beside it.
    """

    weight: int  # inputs of this class, of all
    longest = 30  # s for an answer
    answer = staticmethod(answer)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.input = ""  # the last one, for a report

    @abstractmethod
    def attack(self, rng: random.Random) -> str:
        """Try one input; give "accepted", or "refused" where it was refused on one line.

        Raises
        ------
        WrongAnswerError
            When the answer is not right.
        """

    def command(self, *arguments: object) -> tuple[str, str]:
        """Run the command line; give the kind of its answer, and what it printed."""
        found = self.answer(*arguments)
        if found.code == 0:
            return "accepted", found.stdout
        lines = found.stderr.splitlines()
        if found.code == 1 and (not lines or "internal error" in found.stderr or "Traceback" in found.stderr):
            raise WrongAnswerError(f"exit code 1: {found.stdout[-1000:]!r} {found.stderr[-2000:]!r}")
        if found.code not in (1, 2):
            raise WrongAnswerError(f"exit code {found.code}")
        if found.code == 1 and not all(line.startswith("beamline: ") for line in lines[-1:]):
            raise WrongAnswerError(f"not one line: {found.stderr[-500:]!r}")
        return "refused", found.stderr


class Regions(Target):
    """Energies and fields as text."""

    weight = 1500
    energies = ("520:526:0.5, 526:535:0.1@0.2, 535:560:0.5", "530, 531, 532.5", "700:730:1")
    fields = ("x=-1.8:1.77:0.03 y=-1.8:1.77:0.03", "centre=0,0 size=3.6,3.6 step=0.03", "x=0:1:0.5 y=2; x=3:4:0.5 y=1")

    def attack(self, rng: random.Random) -> str:
        energy = rng.random() < 0.6
        text = rng.choice(self.energies if energy else self.fields)
        self.input = text = mutate(text.encode(), rng, TEXT).decode("utf-8", "replace")
        try:
            found = (EnergyRegions if energy else StxmRegions).parse(text)
        except PlanError as error:
            return refused(error)
        if str(type(found).parse(str(found))) != str(found):
            raise WrongAnswerError(f"{str(found)!r} is read as another")
        if energy:
            expected = energies_of(text)
            if len(found.points) != len(expected) or not np.allclose(found.points, expected, rtol=0, atol=1e-9):
                raise WrongAnswerError(f"gives {found.points[:20]}, which was not meant")
        return "accepted"


def energies_of(text: str) -> np.ndarray:
    """Read energies as a user would with pencil and paper."""
    points: list[float] = []
    for part in text.split(","):
        start, *rest = (float(number) for number in part.partition("@")[0].split(":"))
        if not rest and points and points[-1] == start:
            raise WrongAnswerError(f"{start} is repeated")
        stop, step = rest or (start, 1.0)
        points += [start + step * number for number in range(round((stop - start) / step) + 1)]
    return np.unique(np.round(points, 9))


class Parameters(Target):
    """Parameters of plans."""

    weight = 700
    plans = (
        ["xas", "--regions", "525:535:1", "--dwell", "1.0", "--sample", "LRNMC 311 mAh/g"],
        ["rixs_map", "--regions", "525:535:1", "--exposure-time", "300", "--dark-frames", "3", "--dark-ttl", "800"],
        ["stxm_stack", "--energies", "525:535:1", "--regions", "x=0:1:0.1 y=0:1:0.1", "--dwell", "0.001"],
        ["stxm_image", "--energy", "530", "--regions", "x=0:1:0.1 y=0:1:0.1"],
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for plan in self.plans:  # as they are, they are good
            assert self.command("run", *plan, "--dry-run", "--data-dir", folder / "data")[0] == "accepted", plan

    def attack(self, rng: random.Random) -> str:
        plan = list(rng.choice(self.plans))
        place = rng.randrange(1, len(plan))
        plan[place] = rng.choice(
            [rng.choice(VALUES), mutate(plan[place].encode(), rng, TEXT).decode("utf-8", "replace")]
        )
        self.input = repr(plan)
        kind, output = self.command("run", *plan, "--dry-run", "--data-dir", self.folder / "data")
        if kind == "accepted" and not output.strip():
            raise WrongAnswerError("no answer")
        return kind


class Configurations(Target):
    """Configurations of the endstation."""

    weight = 500

    def attack(self, rng: random.Random) -> str:
        file = self.folder / "endstation.toml"
        file.write_bytes(mutate(SIMULATED.read_bytes(), rng, TEXT))
        self.input = file.read_text(errors="replace")
        if rng.random() < 0.5:
            return self.command("check", "--config", file)[0]
        plan = ("xas", "--regions", "525:535:1", "--dry-run")
        return self.command("run", *plan, "--config", file, "--data-dir", self.folder / "data")[0]


class SdfScans(Target):
    """Folders of a SDF scan."""

    weight = 800

    def attack(self, rng: random.Random) -> str:
        scan = write_sdf(fresh(self.folder / "scan"))
        file = rng.choice(sorted(scan.iterdir()))
        mutate_file(file, rng, TEXT)
        self.input = f"{file.name}: {file.read_bytes()[:3000]!r}"
        try:
            documents = list(sdf_documents(scan))
        except BeamlineError as error:
            return refused(error)
        if not documents[0][1]["import_problems"]:
            counts = [doc["data"][Key.STXM_COUNTS] for name, doc in documents if name == "event"]
            expected = rows_of(sorted(scan.glob("*.xim")))
            if expected and (len(counts) != len(expected) or not all(map(np.array_equal, counts, expected))):
                raise WrongAnswerError("other counts than in the files, and no problem is named")
        return "accepted"


def rows_of(files: list[Path]) -> list[np.ndarray]:
    """Read the lines of images as another program would; none where that takes them for no numbers."""
    try:
        return [row for file in files for row in np.loadtxt(file, ndmin=2)]
    except ValueError:  # as with a byte order mark, which an import skips
        return []


class NxstxmFiles(Target):
    """NXstxm files: with bytes changed, and valid HDF5 with other content."""

    weight = 800

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        counts = np.random.default_rng(1).poisson(1000.0, (3, 4, 5)).astype(float)
        axis = np.arange(5) * 0.05
        self._good = folder / "good.hdf5"
        write_nxstxm(self._good, stxm_documents(counts, [700.0, 705.0, 710.0], axis, axis[:4]), None)

    def attack(self, rng: random.Random) -> str:
        file = fresh(self.folder / "file") / "a.hdf5"
        shutil.copy(self._good, file)
        if rng.random() < 0.5:
            mutate_file(file, rng)
        else:
            mutate_hdf5(file, rng)
        self.input = f"seeded file of {file.stat().st_size} bytes"
        try:
            documents = list(nxstxm_documents(file))
        except BeamlineError as error:
            return refused(error)
        if not documents[0][1]["import_problems"]:
            counts = np.array([doc["data"][Key.STXM_COUNTS] for name, doc in documents if name == "event"])
            with h5py.File(file) as read:
                read_back = list(numbers_in(read))
                if read_back and not any(np.array_equal(counts.ravel(), data) for data in read_back):
                    raise WrongAnswerError("counts that no dataset of the file holds, and no problem is named")
        return "accepted"


def numbers_in(file: h5py.File) -> Iterator[np.ndarray]:
    """Give the datasets of a file that are numbers, flat; none of a file that h5py cannot go through."""
    found: list[h5py.Dataset] = []
    try:
        file.visititems(lambda _name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    except RuntimeError:
        return
    for dataset in found:
        if dataset.dtype.kind in "iuf" and dataset.size is not None and dataset.size < 1e6:
            with contextlib.suppress(OSError):
                yield np.ravel(dataset[()])


class IrixsScans(Target):
    """Folders of an iRIXS scan."""

    weight = 400

    def attack(self, rng: random.Random) -> str:
        scan = write_irixs(fresh(self.folder / "CCD Scan 7"))
        frames = sorted((scan / "Andor").iterdir())
        file = rng.choice([scan / "cox7-AI.txt", scan / "cox7-AI.txt", rng.choice(frames)])
        mutate_file(file, rng, TEXT) if file.suffix == ".txt" else mutate_file(file, rng)
        self.input = f"{file.name}: {file.read_bytes()[:3000]!r}"
        try:
            documents = list(irixs_documents(scan, frames_dir=self.folder / "frames"))
        except BeamlineError as error:
            return refused(error)
        if not documents[0][1]["import_problems"]:
            counts = [doc["data"][Key.I0] for name, doc in documents if name == "event"]
            if len(counts) != len(frames):
                raise WrongAnswerError(f"{len(counts)} of {len(frames)} frames, and no problem is named")
        return "accepted"


class Measured(Target):
    """A folder with a small run of each technique, which the classes below attack."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = folder / "measured"
        session = Session(simulated(1, speed_up=1e6), self.data, in_process=True, followers=(REDUCTION,)).__enter__()
        end = session.endstation
        self.events = {
            measure(session, xas(end, "525:534:1", 1.0)): 10,
            measure(session, rixs_map(end, "530:533:1", 300.0)): 4,
            measure(session, stxm_stack(end, "525:531:2", "x=-0.5:0.5:0.1 y=0:0.5:0.1", 0.001, edge="O K")): 24,
        }
        session.drain()
        session.close()

    def copy(self) -> Path:
        """Give a copy of the folder."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(self.data, copy))


class CommandLines(Measured):
    """Command lines, on a folder with runs."""

    weight = 500
    commands = (
        ["show", "-1"], ["show", "1", "--json"], ["runs", "-n", "3"], ["runs", "--json"],
        ["report", "2", "-o", "r.html"],
        ["export", "1", "--format", "nexus", "-o", "e.nxs"], ["export", "3", "--format", "nxstxm", "-o", "e.hdf5"],
        ["export", "-2", "--format", "columns", "-o", "columns"], ["replay", "1", "--source", "log"],
        ["analyse", "3", "-o", "a.html"], ["import", "nowhere"], ["import", "a b.hdf5", "--as", "nxstxm"],
        ["check", "--json"], ["run", "--list"], ["--version"], ["run", "xas", "--dry-run", "--regions", "525:534:1"],
    )  # fmt: skip

    def attack(self, rng: random.Random) -> str:
        command = list(rng.choice(self.commands))
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(1, len(command) + 1)
            match rng.randrange(4):
                case 0 if place < len(command):
                    del command[place]
                case 1:
                    command.insert(
                        place, rng.choice([*HARMLESS, "--json", "--help", "-o", "--data-dir", "-1", "--config"])
                    )
                case 2 if place < len(command):
                    command.append(command[place])
                case _ if place < len(command):
                    command[place] = rng.choice(HARMLESS)
        if command[0] == "run" and "--list" not in command and "--dry-run" not in command:
            command.append("--dry-run")  # it is not to measure
        self.input = repr(command)
        data = [] if "--data-dir" in command or command[0] in ("check", "--version") else ["--data-dir", self.data]
        kind, output = self.command(*command, *data)
        if kind == "accepted" and "--json" in command and "--help" not in command:
            json.loads(output)
        return kind


class Logs(Measured):
    """Logs of which bytes were changed."""

    weight = 300

    def attack(self, rng: random.Random) -> str:
        copy = self.copy()
        runs = Runs(copy)
        entry = rng.choice(runs.raw())
        mutate_file(entry.path, rng)
        self.input = f"log of {entry.uid}"
        kind, output = self.command("runs", "--json", "--data-dir", copy)
        others = self.events.keys() - {entry.uid}
        if kind != "accepted" or not others <= {run["uid"] for run in json.loads(output)}:
            raise WrongAnswerError("another run is not listed")
        kind, output = self.command("show", entry.uid, "--json", "--data-dir", copy)
        if kind == "accepted":
            summary = json.loads(output)
            whole = summary["frames"] == self.events[entry.uid] and summary["exit_status"] == "success"
            if not whole and summary["exit_status"] == "success" and not summary["problems"]:
                raise WrongAnswerError(
                    f"{summary['frames']} of {self.events[entry.uid]} events, and no problem is named"
                )
        for command in ("report", "export"):
            self.command(command, entry.uid, "-o", self.folder / "output.html", "--data-dir", copy)
        return kind


class ArrayFiles(Measured):
    """Files of frames and of derived arrays, changed or gone."""

    weight = 100

    def attack(self, rng: random.Random) -> str:
        copy = self.copy()
        layout = Layout(copy)
        file = rng.choice([*layout.frames.rglob("*.h5"), *layout.derived.rglob("*.h5")])
        file.unlink() if rng.random() < 0.1 else mutate_file(file, rng)
        self.input = f"{file.name}"
        kinds = set()
        for uid in self.events:
            kinds.add(self.command("replay", uid, "--source", "log", "--json", "--data-dir", copy)[0])
            self.command("show", uid, "--data-dir", copy)
            self.command("report", uid, "-o", self.folder / "output.html", "--data-dir", copy)
        return "accepted" if kinds == {"accepted"} else "refused"


class Catalogues(Measured):
    """Files of the catalogue, changed or gone; then the folder is recovered."""

    weight = 40
    longest = 180  # it is that of four processes
    answer = staticmethod(answer_of_process)  # a process that has the catalogue open would keep what is restored below

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ingest_now(self.data, *(path.stem for path in Layout(self.data).pending_logs()))

    def attack(self, rng: random.Random) -> str:
        copy = self.data
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        deadline = time.monotonic() + 60  # for a process that ends to close its databases
        while any(Layout(copy).catalogue.glob("*-shm")) and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.copytree(Layout(copy).catalogue, kept)
        try:
            file = rng.choice([file for file in Layout(copy).catalogue.rglob("*") if file.is_file()])
            file.unlink() if rng.random() < 0.2 else mutate_file(file, rng)
            self.input = f"{file.name}"
            uid = rng.choice(list(self.events))
            kind, output = self.command("replay", uid, "--source", "catalogue", "--json", "--data-dir", copy)
            if kind == "accepted" and json.loads(output)["equal"] is not True:
                raise WrongAnswerError("the run in the catalogue is another")
            self.command("show", uid, "--data-dir", copy)
            self.command("recover", "--data-dir", copy)
            if self.command("replay", uid, "--source", "catalogue", "--data-dir", copy)[0] != "accepted":
                raise WrongAnswerError("not recovered")
            return kind
        finally:
            shutil.rmtree(Layout(copy).catalogue)
            shutil.copytree(kept, Layout(copy).catalogue)


TARGETS: tuple[type[Target], ...] = (
    Regions, Parameters, Configurations, CommandLines, SdfScans, NxstxmFiles, IrixsScans, Logs, ArrayFiles, Catalogues
)  # fmt: skip


def refused(error: Exception) -> str:
    """Check that an error is one line."""
    if "\n" in str(error) or not str(error).strip():
        raise WrongAnswerError(f"not one line: {str(error)!r:.500}")
    return "refused"


def fresh(folder: Path) -> Path:
    """Give an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Watch:
    """Notes what is opened for writing, made or renamed elsewhere than in one folder."""

    def __init__(self, folder: Path) -> None:
        self._allowed = (str(folder.resolve()), "/dev/null", str(Path.home() / ".cache"), str(Path.home() / ".config"))
        self.elsewhere: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        match event, arguments:
            case "open", (str() as path, _, int() as flags) if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._check(path)
            case (("os.mkdir" | "os.rename" | "os.remove" | "os.rmdir" | "os.symlink"), (str() as path, *_)):
                self._check(path)
            case "sqlite3.connect", (str() as path, *_):
                self._check(path.removeprefix("file:"))

    def _check(self, path: str) -> None:
        if "__pycache__" not in path and not os.path.realpath(path).startswith(self._allowed):
            self.elsewhere.append(path)


def judge(target: Target, rng: random.Random, watch: Watch) -> tuple[str, str]:
    """Try one input; give the kind of the answer, and what is wrong with it."""
    watch.elsewhere.clear()
    signal.alarm(target.longest)
    try:
        kind, why = target.attack(rng), ""
    except WrongAnswerError as error:
        kind, why = "wrong", str(error)
    except HangError:
        kind, why = "hang", f"no answer in {target.longest} s"
    except Exception:  # noqa: BLE001 - this is what is looked for
        kind, why = "traceback", traceback.format_exc()
    finally:
        signal.alarm(0)
    return ("outside", f"written: {watch.elsewhere}") if watch.elsewhere else (kind, why)


def attack(inputs: int, seed: int, folder: Path, names: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str, str]]:
    """Try inputs of all classes, in shares by their weight.

    Yields
    ------
    class, kind, input, why
    """

    def give_up(_number: int, _frame: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, give_up)
    chosen = [one for one in TARGETS if not names or one.__name__ in names]
    total = sum(one.weight for one in chosen)
    before = Path.cwd()
    for one in chosen:
        box = fresh(folder / one.__name__)
        tempfile.tempdir = str(fresh(box / "temporary"))
        os.chdir(fresh(box / "here"))
        target = one(box)
        watch = WATCHES.setdefault(str(folder), Watch(folder))
        for number in range(max(1, round(inputs * one.weight / total))):
            kind, why = judge(target, random.Random(f"{seed} {one.__name__} {number}"), watch)
            yield one.__name__, kind, target.input, why
    tempfile.tempdir = None
    os.chdir(before)


WATCHES: dict[str, Watch] = {}  # an audit hook stays for as long as the process


def main() -> None:
    """Run the attack, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("classes", nargs="*", help=", ".join(one.__name__ for one in TARGETS))
    options = parser.parse_args()
    warnings.simplefilter("error")
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, kind, what, why in attack(options.inputs, options.seed, Path(folder), tuple(options.classes)):
            counts[name, kind] += 1
            if why:
                print(f"{name}: {kind}: {what[:3000]}\n    {why}\n", flush=True)
            if sys.stderr.isatty():
                print(f"{counts.total()} of {options.inputs}", end="\r", file=sys.stderr, flush=True)
    kinds = ("accepted", "refused", "traceback", "hang", "outside", "wrong")
    print("| inputs | " + " | ".join(kinds) + " |\n|---|" + "---|" * len(kinds))
    for name in dict.fromkeys(name for name, _ in counts):
        print(f"| {name} | " + " | ".join(str(counts[name, kind]) for kind in kinds) + " |")
    raise SystemExit(any(counts[name, kind] for name, kind in counts if kind not in ("accepted", "refused")))


if __name__ == "__main__":
    main()
