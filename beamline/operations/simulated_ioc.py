"""The IOC that stands in for the hardware: run it here, or as a process of its own that ends with this one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamline.child_process import module_command
from beamline.endstation.config import Config, resolve_class
from beamline.errors import BeamlineError

STOP_TIMEOUT = 10.0  # s


def serve(
    config: Config,
    *,
    port: int | None,
    ready: Callable[[int, int], None],
    until_stdin_closes: bool,
    **options: Any,
) -> None:
    """Serve the IOC of a configuration until told to stop.

    Parameters
    ----------
    config : Config
    port : int, optional
        0 for one that is free; the configuration's where not given.
    ready : callable
        Is told port and number of process variables.
    until_stdin_closes : bool
        Whether to stop when standard input ends.
    **options
        Of the simulation, in place of the configuration's.

    Raises
    ------
    BeamlineError
        When the configuration names no IOC or one that cannot be built, or the port cannot be used.
    """
    if config.ioc is None:
        raise BeamlineError(f"{config.path}: has no table `ioc`, that says what stands in for the hardware")
    try:
        ioc = resolve_class(config.ioc.class_path)(config.ioc.prefix, **config.ioc.options | options)
    except (TypeError, ValueError, OverflowError) as error:  # of options that it does not have, or out of range
        raise BeamlineError(f"{config.path}: ioc: {error}") from error
    if port is None:
        port = config.channel_access.port if config.channel_access is not None else 0
    try:
        ioc.run(port, ready, until_stdin_closes=until_stdin_closes)
    except (OSError, OverflowError) as error:  # the second for a port that there is not
        where = "" if str(port) in str(error) else f" on port {port}"
        raise BeamlineError(f"the IOC cannot serve{where}: {error}") from error


@dataclass(frozen=True)
class RunningIoc:
    """An IOC that runs beside this process, on a port of this computer."""

    port: int
    process: subprocess.Popen[str]


@contextmanager
def running_ioc(config_path: Path, *, port: int = 0, **options: Any) -> Iterator[RunningIoc]:
    """Run the IOC of a configuration beside this process; at the end it is gone.

    Parameters
    ----------
    config_path : Path
    port : int
        0 for one that is free.
    **options
        ``seed`` and ``speed_up`` in place of the configuration's.

    Raises
    ------
    BeamlineError
        When it does not start.
    """
    command = module_command("beamline.cli", "ioc", "--config", str(config_path), f"--port={port}")
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [*command, "--until-stdin-closes", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # the first it prints, once everything is served
        if not line:
            raise BeamlineError(f"the IOC ended with code {process.wait(STOP_TIMEOUT)} before it served anything")
        yield RunningIoc(int(json.loads(line)["port"]), process)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
