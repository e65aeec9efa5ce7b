"""Run commands of the command line beside what is measured: each a process of low priority, one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beamline.child_process import module_command
from beamline.errors import BeamlineError

NICENESS = 10  # of the process: what is measured goes first


class Turn:
    """Lets one thing be done at a time, and says what is done to whoever comes meanwhile."""

    def __init__(self) -> None:
        self._doing = ""

    @contextmanager
    def take(self, doing: str) -> Iterator[None]:
        """Take the turn for as long as the context lasts.

        Parameters
        ----------
        doing : str
            What is done, as in "a run is being reduced again".

        Raises
        ------
        BeamlineError
            When something is being done already.
        """
        if self._doing:
            raise BeamlineError(f"{self._doing}; try it when that is done")
        self._doing = doing
        try:
            yield
        finally:
            self._doing = ""


async def answer_of(*arguments: str) -> dict[str, Any]:
    """Run a command of the command line, which is asked for ``--json``, and give its answer.

    Parameters
    ----------
    *arguments : str
        As in a terminal behind `beamline`.

    Raises
    ------
    BeamlineError
        When it fails without an answer: the last line that it says.
    """
    command = ["nice", "-n", str(NICENESS), *module_command("beamline.cli", *arguments, "--json")]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said, problem = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if not said:
        lines = problem.decode(errors="replace").strip().splitlines() or [f"ended with code {process.returncode}"]
        raise BeamlineError(lines[-1].removeprefix("beamline: "))
    outcome: dict[str, Any] = json.loads(said)
    return outcome
