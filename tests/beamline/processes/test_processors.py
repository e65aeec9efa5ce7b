"""What measures keeps to a processor that what follows leaves to it, where there are two."""

import os
import threading
import time

import pytest

from beamline.acquire.session import Session
from beamline.endstation.config import load_config
from beamline.processes.processors import allow, keep_to_the_first, leave_the_first, threads
from beamline.storage.layout import REDUCTION


def on_a_thread(work, processors):
    """Give what `work` finds on a thread that may use these processors."""
    found = []

    def run():
        os.sched_setaffinity(0, processors)
        found.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_of_two_processors_one_is_kept_to_and_given_back_and_the_other_is_left_to_what_follows():
    two = set(sorted(os.sched_getaffinity(0))[:2])

    def work():
        mine = [threading.get_native_id()]
        before = keep_to_the_first([*mine, 2**22 - 1])  # one that has ended does not matter
        kept = os.sched_getaffinity(0)
        allow(before, mine)
        back = os.sched_getaffinity(0)
        leave_the_first()
        return kept, back, os.sched_getaffinity(0)

    assert on_a_thread(work, two) == ({min(two)}, two, {max(two)})
    assert threading.get_native_id() in threads()


def test_where_there_are_more_processors_or_one_nothing_is_kept_to():
    one = {min(os.sched_getaffinity(0))}
    assert on_a_thread(lambda: (keep_to_the_first(threads()), os.sched_getaffinity(0)), one) == (one, one)


@pytest.mark.long
def test_a_session_gives_its_processors_back_and_its_processes_are_not_kept_from_theirs(tmp_path):
    before = os.sched_getaffinity(0)
    with Session(load_config(None), tmp_path, followers=(REDUCTION,)) as session:
        during = os.sched_getaffinity(0)
        deadline = time.monotonic() + 60
        while session.reduction.status().state == "starting" and time.monotonic() < deadline:
            time.sleep(0.05)
        following = os.sched_getaffinity(session.reduction.pid)
    assert os.sched_getaffinity(0) == before
    if len(before) == 2:
        assert (during, following) == ({min(before)}, {max(before)})
    else:
        assert during == before
