"""Make analyses by a recipe for users of the page, one at a time, and show those that were kept."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.operations.analyse import check_analysis, contents_pooled
from beamline.operations.analyses import find_analysis, runs_analysed
from beamline.report.page import as_png
from beamline.serve.keys import User
from beamline.serve.page.beside import Turn, answer_of
from beamline.storage.runs import Runs
from beamline.text import clean

LONGEST_RECIPE = 100_000  # characters
MOST_RUNS = 200  # of an analysis
LONGEST_NAME = 100  # characters, of a run


class Analyses:
    """Makes analyses: by `beamline analyse`, so that they are those of the command line.

    Parameters
    ----------
    config : Path
        The configuration, whose settings hold for stacks and maps that are pooled.
    data_dir : Path
    turn : Turn
        What else computes beside the scan.
    """

    def __init__(self, config: Path, data_dir: Path, turn: Turn) -> None:
        self._config, self._data_dir, self._turn = config, data_dir, turn
        self._task: asyncio.Task[None] | None = None
        self._stopped_by = ""
        self.state: dict[str, Any] = {}  # for JSON: of the one that is made, or was last; see `start`

    async def start(self, user: User, names: Any, recipe: Any) -> dict[str, Any]:
        """Begin an analysis.

        Parameters
        ----------
        user : User
        names : list of str
            The runs; none where the recipe names them.
        recipe : str
            TOML; empty to lay spectra over one another, or to pool stacks or maps.

        Returns
        -------
        dict
            For JSON: ``by``, the user; ``of``, the number of runs; ``since``; ``ended``, None while it is made, and
            then ``uid`` of the analysis or ``error``, why there is none; times in s since 1970.

        Raises
        ------
        BeamlineError
            When something else is being computed; or in one line what is wrong with the runs or the recipe.
        """
        names, recipe = _checked(names, recipe)
        with ExitStack() as stack:
            stack.enter_context(self._turn.take("an analysis is being made"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beamline-")))
            file = folder / "recipe.toml" if recipe.strip() else None
            if file is not None:
                file.write_text(recipe, encoding="utf-8")
            try:
                uids = await asyncio.to_thread(check_analysis, names, file, self._data_dir)
            except BeamlineError as error:
                raise BeamlineError(_told(error, folder)) from error
            self.state = {
                "by": user.name,
                "of": len(uids),
                "since": time.time(),
                "ended": None,
                "uid": "",
                "error": "",
            }
            self._stopped_by = ""
            self._task = asyncio.create_task(self._make(uids, folder, file, stack.pop_all()))
        return self.state

    async def _make(self, uids: Sequence[str], folder: Path, file: Path | None, held: ExitStack) -> None:
        recipe = () if file is None else ("--recipe", str(file))
        where = ("--config", str(self._config), "--data-dir", str(self._data_dir))
        found = {}
        with held:
            try:
                outcome = await answer_of("analyse", *uids, *recipe, *where, "--output", str(folder / "report.html"))
                found = {"uid": outcome["derived_uid"], "error": outcome["not_in_catalogue"]}
            except BeamlineError as error:
                found = {"error": _told(error, folder)}
            except asyncio.CancelledError:
                found = {"error": f"stopped by {self._stopped_by}" if self._stopped_by else "the page's server ended"}
                raise
            finally:
                self.state = self.state | {"error": "an internal error"} | found | {"ended": time.time()}

    async def stop(self, user: User) -> dict[str, Any]:
        """Stop the analysis that is made; nothing of it is kept.

        Raises
        ------
        BeamlineError
            When none is made, or somebody else has begun it and the user is no operator.
        """
        if self._task is None or self._task.done():
            raise BeamlineError("no analysis is being made")
        if self.state["by"] != user.name and not user.may("operator"):
            raise BeamlineError(f"{self.state['by']} has begun this analysis; an operator may stop it")
        self._stopped_by = user.name
        await self.close()
        return self.state

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _checked(names: Any, recipe: Any) -> tuple[list[str], str]:
    """Check what was sent."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BeamlineError("runs: expected a list of names of runs")
    if len(names) > MOST_RUNS or any(len(name) > LONGEST_NAME for name in names):
        raise BeamlineError(f"runs: expected at most {MOST_RUNS} names of at most {LONGEST_NAME} characters")
    if not isinstance(recipe, str):
        raise BeamlineError("recipe: expected a text")
    if len(recipe) > LONGEST_RECIPE:
        raise BeamlineError(f"recipe: has {len(recipe)} characters, expected at most {LONGEST_RECIPE}")
    try:
        recipe.encode()
    except UnicodeEncodeError as error:
        raise BeamlineError(f"recipe: is no text: {error.reason}") from error
    return names, recipe


def _told(error: BeamlineError, folder: Path) -> str:
    """Give an error in one line, without the folder that the recipe was put in."""
    return " · ".join(str(error).replace(f"{folder}/", "").splitlines())


def analysis_shown(runs: Runs, name: str) -> dict[str, Any]:
    """Give what the report of an analysis holds, for the page.

    Returns
    -------
    dict
        For JSON: ``uid``; title, subtitle, verdict, warnings, remarks, notes, tables and provenance as of
        `beamline.report.page.PageContents`; ``figures``, of each heading, caption and PNG in base 64; ``runs``, uid
        and name of each.

    Raises
    ------
    BeamlineError
        When there is no such analysis, or it cannot be read.
    """
    entry = find_analysis(runs, name)
    contents = contents_pooled(runs, entry)
    return {
        "uid": entry.uid,
        "title": clean(contents.title),
        "subtitle": clean(contents.subtitle),
        "verdict": clean(contents.verdict),
        "warnings": [clean(each) for each in contents.warnings],
        "remarks": [clean(each) for each in contents.remarks],
        "notes": [clean(each) for each in contents.notes],
        "figures": [
            {"heading": clean(heading), "caption": clean(caption), "png": as_png(figure)}
            for heading, caption, figure in contents.drawn
        ],
        "tables": [
            {
                "heading": clean(table.heading),
                "header": [clean(each) for each in table.header],
                "rows": [[clean(cell) for cell in row] for row in table.rows],
            }
            for table in contents.tables
        ],
        "provenance": [[clean(name), clean(value)] for name, value in contents.provenance],
        "runs": runs_analysed(runs, entry),
    }
