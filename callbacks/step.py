"""What a step of a reduction is, and how steps are run one after the other on an event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

logger = logging.getLogger(__name__)

DataKey = dict[str, Any]  # event_model's: dtype, shape, units


class Step(Protocol):
    """One step of a reduction: pure arithmetic, with the state it keeps from event to event."""

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take one raw event with the outputs of the earlier steps; give this step's outputs."""
        ...

    def describe(self) -> dict[str, DataKey]:
        """Give the data keys of those outputs that are kept in the derived run, with their units."""
        ...

    @property
    def result(self) -> dict[str, Any]:
        """What is known from the events so far; empty for a step without running state."""
        ...


class Chain:
    """Steps run in order on every event; a step that fails costs that event only.

    Parameters
    ----------
    steps : mapping of str to Step
        The steps by name, in order.
    images : Chain, optional
        Steps that work on what several events make together: the images of a STXM stack. A step of this chain gives
        them by `take_closed`.

    Attributes
    ----------
    errors : int
        How often a step failed.
    watch : callable or None
        Called with the name of a step and all its outputs, also those that are not kept.
    """

    def __init__(self, steps: Mapping[str, Step], *, images: Chain | None = None) -> None:
        self.steps = dict(steps)
        self.images = images
        self.errors = 0
        self.watch: Callable[[str, Mapping[str, Any]], None] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}

    def push_dark(self, event: Mapping[str, Any]) -> None:
        """Hand a dark frame to the step that wants it."""
        for step in self.steps.values():
            if hasattr(step, "push_dark"):
                step.push_dark(event)

    def take_closed(self, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Give the events for the chain `images` that have come together since; at the end, also what is not whole."""
        for step in self.steps.values():
            if hasattr(step, "take_closed"):
                yield from step.take_closed(final=final)

    def push(self, event: Mapping[str, Any], *, problem: str = "") -> tuple[dict[str, Any], str]:
        """Run the steps on one event.

        Parameters
        ----------
        event : mapping
            Values of the raw event.
        problem : str
            Why the event is not measured at all; then no step sees it.

        Returns
        -------
        kept : dict
            The outputs that steps declare in `Step.describe`. Where a step failed, its outputs and those of the
            steps behind it are missing (see `missing`).
        problem : str
            Empty, or which step failed and why.
        """
        values, kept = dict(event), {}
        for name, step in self.steps.items() if not problem else ():
            try:
                outputs = step.push(values)
                wanted = {key: outputs[key] for key in step.describe()}
            except Exception as error:  # whatever a step raises costs this event, not the scan
                self.errors += 1
                problem = f"{name}: {type(error).__name__}: {error}"
                logger.exception("step %s failed on event %s", name, event.get("seq_num"))
                break
            kept.update(wanted)
            values.update(outputs)
            if self.watch is not None:
                self.watch(name, outputs)
        self._shapes.update({key: np.shape(value) for key, value in kept.items()})
        return kept, problem

    def missing(self) -> dict[str, Any]:
        """Give the values that say "not measured" for all kept outputs: NaN, an empty text, -1 for a whole number."""
        return {
            key: _not_measured(data_key["dtype"], self._shapes.get(key, ())) for key, data_key in self.described.items()
        }

    @property
    def described(self) -> dict[str, DataKey]:
        """The data keys of all kept outputs."""
        return {key: data_key for step in self.steps.values() for key, data_key in step.describe().items()}

    @property
    def result(self) -> dict[str, Any]:
        """The results of all steps; a step whose result fails leaves `<step>_problem` in its place."""
        merged: dict[str, Any] = {}
        for name, step in self.steps.items():
            try:
                result = step.result
            except Exception as error:  # the results of the other steps must survive
                self.errors += 1
                logger.exception("result of step %s failed", name)
                result = {f"{name}_problem": f"{type(error).__name__}: {error}"}
            if clash := merged.keys() & result.keys():
                raise ValueError(f"step {name} gives results that an earlier step gave: {', '.join(sorted(clash))}")
            merged.update(result)
        return merged | (self.images.result if self.images is not None else {})


def _not_measured(dtype: str, shape: tuple[int, ...]) -> Any:
    match dtype:
        case "string":
            return ""
        case "integer":
            return -1
        case "boolean":
            return False
        case "array":
            return np.full(shape, np.nan)
        case _:
            return float("nan")
