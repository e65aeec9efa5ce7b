"""The progress bar leaves the terminal to a question."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.long

PROGRAM = """
import threading, time
from beamline.cli.printing import ask_to_resume
from beamline.cli.progress import progress_bar
with progress_bar(quiet=False) as bar:
    ended = threading.Event()
    def go_on():
        done = 0
        while not ended.wait(0.02):
            done += 1
            bar("a scan", done, 10_000)
    thread = threading.Thread(target=go_on)
    thread.start()
    time.sleep(0.5)
    answer = bar.hidden()(ask_to_resume)()
    time.sleep(0.5)
    ended.set()
    thread.join()
print("answered", answer)
"""


@contextmanager
def at_a_terminal():
    """Run the program at a terminal; give both."""
    terminal, other = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=other, stdout=other, stderr=other, start_new_session=True
    )
    os.close(other)
    try:
        yield terminal, program
        assert program.wait(60) == 0
    finally:
        program.kill()
        program.wait()
        os.close(terminal)


def read_until(terminal, wanted, timeout=30.0):
    """Read what a terminal shows until it has shown this."""
    shown, deadline = b"", time.monotonic() + timeout
    while wanted not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 10_000)
    assert wanted in shown
    return shown


def test_a_question_after_ctrl_c_is_not_drawn_over_and_the_bar_goes_on_after_the_answer():
    with at_a_terminal() as (terminal, _):
        assert b"a scan" in read_until(terminal, b"(y)")
        time.sleep(0.6)  # time for many drawings
        while select.select([terminal], [], [], 0)[0]:
            assert b"a scan" not in os.read(terminal, 10_000)
        os.write(terminal, b"y\n")
        assert b"a scan" in read_until(terminal, b"answered True")


def test_another_ctrl_c_at_the_question_is_a_no():
    with at_a_terminal() as (terminal, program):
        read_until(terminal, b"(y)")
        time.sleep(0.2)
        program.send_signal(signal.SIGINT)
        read_until(terminal, b"answered False")
