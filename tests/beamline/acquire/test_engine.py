"""The engine where a device fails at the moment of a suspension."""

import asyncio
import time
from functools import partial

import pytest
from bluesky.plan_stubs import checkpoint, close_run, null, open_run, sleep
from bluesky.utils import FailedStatus, Msg
from ophyd import Device
from ophyd.status import Status

from beamline.acquire.engine import Engine


class Failing(Device):
    """Fails when it is told to, some time after it was triggered."""

    def trigger(self):
        self.status = Status()
        return self.status


@pytest.fixture
def engine():
    engine = Engine(context_managers=[])
    engine.record_interruptions = True
    return engine


def ask(engine):
    """Ask for a suspension of 0.3 s, as a suspender does."""
    event = asyncio.Event()
    engine.request_suspend(event.wait, pre_plan=partial(null), post_plan=None, justification="no light")
    engine.loop.call_later(0.3, event.set)


def test_a_failure_at_the_moment_of_a_suspension_goes_to_the_plan_and_the_suspension_begins(engine):
    documents, failures, went_on = [], [], []

    def plan():
        device = Failing(name="counter")
        yield from open_run()
        yield from checkpoint()
        yield Msg("trigger", device, group="counted")
        ask(engine)
        device.status.set_exception(ConnectionError("gone"))
        time.sleep(0.1)  # the engine is busy: both reach it together
        try:
            yield Msg("wait", None, group="counted")
        except FailedStatus as error:
            failures.append(error)
        yield from checkpoint()
        yield from sleep(0.05)
        went_on.append(time.monotonic())
        yield from close_run()

    began = time.monotonic()
    engine(plan(), lambda name, doc: documents.append((name, doc)))
    assert len(failures) == 1
    assert went_on[-1] - began > 0.3
    assert [doc["data"]["interruption"] for name, doc in documents if name == "event"] == ["no light"]


def test_a_suspension_without_a_failure_begins_once(engine):
    documents = []

    def plan():
        yield from open_run()
        yield from checkpoint()
        ask(engine)
        time.sleep(0.1)  # the engine is busy: it is asked while this message is done
        yield from sleep(0.01)
        yield from close_run()

    engine(plan(), lambda name, doc: documents.append((name, doc)))
    assert [doc["data"]["interruption"] for name, doc in documents if name == "event"] == ["no light"]
