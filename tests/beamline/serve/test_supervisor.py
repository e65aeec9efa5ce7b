"""Parts of a service: started in order, started again, kept by the next supervisor, ended with all they started."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from beamline.serve.supervisor import Part, Supervisor, lives, read_notes

pytestmark = pytest.mark.long

FOREVER = "import time\nwhile True: time.sleep(60)"


def part(name, code=FOREVER, well=lambda: "", **options):
    return Part(name, "waits", [sys.executable, "-c", code], {}, well, **options)


@contextmanager
def supervised(folder, *parts):
    one = Supervisor(parts, folder / "notes.json", folder)
    one.start()
    try:
        yield one
    finally:
        one.stop()


def until(what, timeout=60.0):
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(one, name):
    return lambda: one.supervised[name].status.state == "running"


def test_a_part_is_started_when_those_are_well_that_it_needs(tmp_path):
    ready = []
    first, second = part("first", well=lambda: "" if ready else "not yet"), part("second", after=("first",))
    with supervised(tmp_path, first, second) as one:
        until(lambda: one.supervised["first"].status.pid)
        time.sleep(0.7)
        assert one.supervised["second"].status.state == "waiting"
        ready.append(True)
        until(running(one, "second"))
        assert one.supervised["first"].status.since <= one.supervised["second"].status.since


def test_a_part_that_is_killed_is_started_again_and_it_is_said_why(tmp_path):
    with supervised(tmp_path, part("one")) as one:
        until(running(one, "one"))
        before = one.supervised["one"].status.pid
        os.kill(before, signal.SIGKILL)
        until(lambda: one.supervised["one"].status.restarts == 1)
        until(running(one, "one"))
        status = one.supervised["one"].status
        assert status.pid != before
        assert status.error == "ended by signal SIGKILL"


def test_a_part_that_does_not_answer_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr("beamline.serve.supervisor.UNWELL_AFTER", 2.0)
    answers = [True]

    def well():
        if not answers[0]:
            raise ConnectionError("no answer")
        return ""

    with supervised(tmp_path, part("one", well=well)) as one:
        until(running(one, "one"))
        answers[0] = False
        until(lambda: one.supervised["one"].status.state == "unwell")
        until(lambda: one.supervised["one"].status.restarts == 1)
        assert one.supervised["one"].status.error == "does not answer: ConnectionError: no answer"
        answers[0] = True
        until(running(one, "one"))


def test_a_part_that_is_slow_to_answer_gets_longer_each_time_until_it_does(tmp_path):
    born = {}

    def well():
        begun = born.setdefault(one.supervised["one"].status.pid, time.monotonic())
        return "" if time.monotonic() > begun + 3.0 else "is slow"

    with supervised(tmp_path, part("one", well=well, start_within=1.0)) as one:
        until(running(one, "one"), timeout=60)
        assert len(born) > 1


def test_what_cannot_be_started_says_why_and_is_tried_again(tmp_path):
    wrong = Part("one", "is not there", ["/no/such/program"], {}, lambda: "")
    with supervised(tmp_path, wrong) as one:
        until(lambda: one.supervised["one"].status.restarts)
        assert one.supervised["one"].status.error == "cannot be started: /no/such/program: No such file or directory"


def test_nothing_is_left_of_a_part_and_of_what_it_started_even_where_it_is_deaf(tmp_path):
    deaf = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", {FOREVER!r}]).pid, flush=True)
{FOREVER}
"""
    log = tmp_path / "one.log"
    with supervised(tmp_path, part("one", deaf)) as one:
        until(lambda: log.exists() and log.read_text().endswith("\n"))
        pids = [int(log.read_text()), one.supervised["one"].status.pid]
        assert all(lives(pid) for pid in pids)
        assert (log.stat().st_mode & 0o777) == 0o600
        one.supervised["one"].stop_timeout = 0.5
    until(lambda: not any(lives(pid) for pid in pids))
    assert not (tmp_path / "notes.json").exists()


SUPERVISOR = """
import sys, time
from pathlib import Path
from beamline.serve.supervisor import Part, Supervisor
folder = Path(sys.argv[1])
part = Part("one", "waits", [sys.executable, "-c", sys.argv[2]], {}, lambda: "")
one = Supervisor([part], folder / "notes.json", folder)
one.start()
while one.supervised["one"].status.state != "running":
    time.sleep(0.02)
one.note()
print("noted", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("same", [True, False])
def test_the_next_supervisor_keeps_what_one_that_was_killed_has_left_unless_its_settings_are_others(tmp_path, same):
    killed = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path), FOREVER], stdout=subprocess.PIPE)
    with killed:
        assert killed.stdout.readline() == b"noted\n"
        killed.kill()
    pid = read_notes(tmp_path / "notes.json")["one"].pid
    assert lives(pid)
    again = part("one") if same else part("one", FOREVER + "  # other")
    with supervised(tmp_path, again) as one:
        until(running(one, "one"))
        assert (one.supervised["one"].status.pid == pid) == same
        assert lives(pid) == same
        if same:
            os.kill(pid, signal.SIGKILL)
            until(lambda: one.supervised["one"].status.restarts == 1)
    until(lambda: not lives(pid))
