"""The command line, called in this process, which has imported what takes seconds, or in one of its own."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from beamline.cli import main


@dataclass(frozen=True)
class Answer:
    """What the command line answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)


def answer(*arguments):
    """Run the command line in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["beamline", *map(str, arguments)]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Answer(ended.value.code or 0, stdout.getvalue(), stderr.getvalue())


def answer_of_process(*arguments, timeout=240):
    """Run the command line as a user does: for what depends on the process, its imports, its signals, its end."""
    done = subprocess.run(
        [sys.executable, "-m", "beamline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def beamline(*arguments, expect=0):
    """Run the command line in this process, and give its answer, or the error where one is expected."""
    found = answer(*arguments)
    assert found.code == expect, found.stderr or found.stdout
    return found.stdout if expect == 0 else found.stderr


def as_json(*arguments):
    return json.loads(beamline(*arguments, "--json"))
