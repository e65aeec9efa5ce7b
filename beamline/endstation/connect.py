"""Connect to the process variables of an endstation, and report what answered, how fast, and what did not and why."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bluesky import RunEngine
from bluesky.run_engine import get_bluesky_event_loop

from beamline.endstation.config import ChannelAccess
from beamline.errors import BeamlineError
from callbacks.contract import Severity, alarm_key, severity_key
from plans.endstation import kept

POLL = 0.01  # s
ASKED = 10.0  # s that an answer which is awaited may take, before channels are cleared
LOOK_INTERVAL = 0.05  # s
ASK_AGAIN = 2.0  # s without an answer, after which it is asked again
SHOWN = 3  # missing process variables that are named in a message


@dataclass(frozen=True)
class Answer:
    """How a device answered.

    Attributes
    ----------
    device : str
        Name of the device.
    pvs : int
        Number of its process variables; 0 if it needs none.
    missing : list of str
        The process variables that did not answer.
    connect_seconds : float
        Time until all were connected, s; the timeout if some did not answer.
    read_seconds : float or None
        Time that one reading takes, s; None if it was not read.
    problem : str
        Empty if there is none.
    """

    device: str
    pvs: int
    missing: list[str]
    connect_seconds: float
    read_seconds: float | None
    problem: str


def use_channel_access(settings: ChannelAccess | None) -> None:
    """Tell EPICS where to search for process variables, before it is first used in this process.

    Raises
    ------
    BeamlineError
        When it is already in use with other settings.
    """
    if settings is None:
        return
    wanted = settings.environment()
    if _in_use() and any(os.environ.get(name) != value for name, value in wanted.items()):
        raise BeamlineError(
            "channel_access: EPICS is already in use in this process, with other settings; "
            f"set {' '.join(f'{name}={value!r}' for name, value in wanted.items())} before it is started"
        )
    os.environ |= wanted


def connect(devices: Mapping[str, Any], settings: ChannelAccess | None, *, read: bool = False) -> list[Answer]:
    """Connect to all process variables of devices.

    Parameters
    ----------
    devices : mapping of str to device
    settings : ChannelAccess, optional
    read : bool
        Whether to also read each device that is connected.

    Returns
    -------
    list of Answer
        One for each device, in their order.
    """
    settings = settings or ChannelAccess()
    promising = {name: device for name, device in devices.items() if inspect.iscoroutinefunction(_connecting(device))}
    signals_of = {name: _epics_signals(device) for name, device in devices.items() if name not in promising}
    connected = _connect_all(signals_of, settings.timeout)
    answers = []
    for name, device in devices.items():
        if name in promising:
            answers.append(_connect_promising(name, device, settings.timeout, read=read))
            continue
        signals, seconds = signals_of[name], connected.get(name, settings.timeout)
        missing = [] if name in connected else [signal.pvname for signal in signals if not signal.connected]
        took, problem = None, ""
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            problem = (
                f"no answer within {settings.timeout:g} s from {', '.join(missing[:SHOWN])}{more}: "
                f"no IOC serves it at {settings.address_list or 'any address'}, port {settings.port}"
            )
        elif read:
            took, problem = _read(device)
        answers.append(Answer(name, len(signals), missing, seconds, took, problem))
    return answers


def require(answers: list[Answer]) -> None:
    """Raise BeamlineError if a device did not answer, with a line for each such device."""
    if lines := [f"{answer.device}: {answer.problem}" for answer in answers if answer.problem]:
        raise BeamlineError(*lines)


def unanswering(devices: Iterable[Any]) -> list[str]:
    """Name the process variables of devices that are not connected now."""
    return [signal.pvname for device in devices for signal in _epics_signals(device) if not signal.connected]


def look_often_whether_to_end() -> None:
    """Let ophyd's thread that looks at its queues every second, and is waited for at the end, look more often."""
    from ophyd import cl  # noqa: PLC0415 - EPICS must not be in use before it is configured

    cl.get_dispatcher().debug_monitor_interval = LOOK_INTERVAL


def disconnect(devices: Iterable[Any]) -> None:
    """Disconnect the process variables of devices."""
    with _nothing_asked():
        for device in devices:
            if hasattr(device, "destroy"):  # those of ophyd-async end with the loop
                device.destroy()


@contextmanager
def _nothing_asked() -> Iterator[None]:
    """Hold the threads on which ophyd asks for process variables, once they have done what they were told to.

    Where one asks while the channel is cleared, the process crashes in the library of EPICS.
    """
    if not _in_use():
        yield
        return
    from ophyd import cl  # noqa: PLC0415 - EPICS must not be in use before it is configured

    dispatcher = cl.get_dispatcher()
    sharing = [name for name in dispatcher.threads if name.startswith("util")]  # one queue: each takes one task of it
    own = [dispatcher.get_thread_context(name).run for name in dispatcher.threads if name not in sharing]
    go_on = threading.Event()
    try:
        _hold(own, go_on)  # first, as they give tasks to the others
        _hold([dispatcher.schedule_utility_task] * len(sharing), go_on)
        yield
    finally:
        go_on.set()


def _hold(schedulers: Sequence[Callable[[Callable[[], None]], None]], go_on: threading.Event) -> None:
    """Let threads wait for an event, and wait until they do."""
    all_there = threading.Barrier(len(schedulers) + 1, timeout=ASKED)

    def wait() -> None:
        with suppress(threading.BrokenBarrierError):  # one of them takes longer
            all_there.wait()

    def hold() -> None:
        wait()
        go_on.wait()

    for schedule in schedulers:
        schedule(hold)
    wait()


def _connecting(device: Any) -> Any:
    return getattr(device, "connect", None)


def _connect_promising(name: str, device: Any, timeout: float, *, read: bool) -> Answer:
    """Connect to a device of ophyd-async, on the loop of Bluesky's engine, which it is used on afterwards."""
    _run_loop()
    began, took, problem = time.monotonic(), None, ""
    try:
        kept(device.connect(timeout=timeout), 2 * timeout)
    except Exception as error:  # noqa: BLE001 - NotConnectedError with a line for each signal, or what the device raises
        problem = f"is not connected: {' '.join(str(error).split())[:300] or type(error).__name__}"
    seconds = time.monotonic() - began
    if read and not problem:
        took, problem = _read(device)
    return Answer(name, 0, [], seconds, took, problem)


def _run_loop() -> None:
    """Run the loop of Bluesky's engine, where no engine does yet."""
    loop = get_bluesky_event_loop()
    if loop is None or not loop.is_running():
        RunEngine(context_managers=[])


def _epics_signals(device: Any) -> list[Any]:
    from ophyd.signal import EpicsSignalBase  # noqa: PLC0415 - EPICS must not be in use before it is configured

    if not hasattr(device, "walk_signals"):
        return []
    found = [walked.item for walked in device.walk_signals(include_lazy=False)]
    return [signal for signal in found if isinstance(signal, EpicsSignalBase)]


def _connect_all(signals_of: Mapping[str, list[Any]], timeout: float) -> dict[str, float]:
    """Wait until the signals of devices are connected; return the time it took (s) for each device that is."""
    began = asked = time.monotonic()
    connected: dict[str, float] = {}
    while True:
        for name, signals in signals_of.items():
            if name not in connected and all(signal.connected for signal in signals):
                connected[name] = time.monotonic() - began
        if time.monotonic() - asked > ASK_AGAIN:
            _ask_again(signal for name, signals in signals_of.items() if name not in connected for signal in signals)
            asked = time.monotonic()
        if len(connected) == len(signals_of) or time.monotonic() - began > timeout:
            return connected
        time.sleep(POLL)


def _ask_again(signals: Iterable[Any]) -> None:
    """Ask again for what ophyd must know of a process variable: it does once, and forgets where that fails.

    Signals of one process variable share it, and ask to be told when it connects. The one that asks while it is
    connecting for the other is told neither then nor later (``epics.get_pv`` looks whether it is connected, and adds
    the callback after that).
    """
    for signal in signals:
        pvs = {pv.pvname: pv for pv in (signal._read_pv, getattr(signal, "_write_pv", None)) if pv}  # noqa: SLF001
        if signal.connected or not all(pv.connected for pv in pvs.values()):
            continue
        for name, pv in pvs.items():
            signal._pv_connected(pvname=name, conn=True, pv=pv)  # noqa: SLF001 - what the callbacks would have told
            signal._pv_access_callback(pv.read_access, pv.write_access, pv=pv)  # noqa: SLF001
        with suppress(TimeoutError), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"ca\.get.* timed out", UserWarning)  # it will be asked once more
            signal.wait_for_connection(timeout=ASK_AGAIN)


def _read(device: Any) -> tuple[float | None, str]:
    began = time.monotonic()
    try:
        kept(device.describe())
        kept(device.describe_configuration())
        began = time.monotonic()
        reading = kept(device.read())
    except Exception as error:  # noqa: BLE001 - any error is the answer that the user asked for
        return None, f"cannot be read: {' '.join(str(error).split())}"
    return time.monotonic() - began, _not_ready(device, reading)


def _not_ready(device: Any, reading: Mapping[str, Any]) -> str:
    """Say for which alarm what a device read is not known; of a detector nothing is, before it is triggered."""
    from ophyd import Device  # noqa: PLC0415 - as above

    is_detector = getattr(type(device), "trigger", Device.trigger) is not Device.trigger
    severity = reading.get(severity_key(device.name), {"value": Severity.NO_ALARM})["value"]
    if is_detector or severity < Severity.INVALID:
        return ""
    return f"not ready: {reading[alarm_key(device.name)]['value']}"


def _in_use() -> bool:
    if "epics" not in sys.modules:
        return False
    from epics import ca  # noqa: PLC0415

    return ca.libca is not None and ca.current_context() is not None
