"""Check a plan before it is queued: its parameters, the limits of the devices, how long it takes, the disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from beamline.acquire.feedback import with_feedback
from beamline.acquire.references import processing_with_references
from beamline.acquire.safety import Assessment, assess
from beamline.endstation.build import build_endstation
from beamline.endstation.config import Config
from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from plans import PlanError, find_plan


class PlanChecks:
    """Checks plans on devices of its own, built when the first is checked; nothing moves.

    Parameters
    ----------
    config : Config
    data_dir : Path
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        self._config, self._data_dir = config, data_dir
        self._endstation: Any = None
        self._one = threading.Lock()

    def check(self, name: str, texts: Iterable[tuple[str, str]]) -> tuple[dict[str, Any], Assessment]:
        """Check a plan with its parameters as text.

        Returns
        -------
        parameters : dict
            As the queue takes them: by name, of types that JSON has.
        assessment : Assessment

        Raises
        ------
        BeamlineError
            When it cannot be measured; says why.
        """
        try:
            plan = find_plan(name)
            pairs = [(written, text) for written, text in texts if text.strip()]
            values = plan.convert(pairs)
        except PlanError as error:
            raise BeamlineError(str(error)) from error
        with self._one:
            endstation = self._built()
            made = plan.function(endstation, **values)
            assessment = assess(made, endstation, self._data_dir, self._config.storage.minimum_free_gb)
        assessment.refuse()
        written = {key.replace("-", "_"): text for key, text in pairs}
        return {key: _plain(value, written[key]) for key, value in values.items()}, assessment

    def samples(self) -> list[str]:
        """List the samples that the endstation holds."""
        with self._one:
            return list(self._built().sample.samples)

    def _built(self) -> Any:
        if self._endstation is None:
            built = build_endstation(self._config, frames_dir=Layout(self._data_dir).frames)
            settings = processing_with_references(self._config, self._data_dir)
            self._endstation = with_feedback(built, self._data_dir, settings)
        return self._endstation

    async def check_item(self, item: Mapping[str, Any]) -> Assessment:
        """Check an item as the queue holds it: name, args and kwargs.

        Raises
        ------
        BeamlineError
            As of `check`; also for what is no plan.
        """
        if item.get("item_type", "plan") != "plan":
            raise BeamlineError(f"item of the type {item.get('item_type')!r}: expected a plan")
        name = str(item.get("name", ""))
        try:
            plan = find_plan(name)
        except PlanError as error:
            raise BeamlineError(str(error)) from error
        args, kwargs = item.get("args") or (), item.get("kwargs") or {}
        if len(args) > len(plan.parameters):
            raise BeamlineError(f"{name} takes {len(plan.parameters)} parameters, not {len(args)}")
        pairs = [*zip(plan.parameters, args, strict=False), *kwargs.items()]
        texts = [(str(key), value if isinstance(value, str) else str(value)) for key, value in pairs]
        _, assessment = await asyncio.to_thread(self.check, name, texts)
        return assessment


def _plain(value: Any, text: str) -> Any:
    return value if isinstance(value, bool | int | float | str) else text
