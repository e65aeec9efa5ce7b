"""The plans by name, with their parameters as command lines and forms need them.

Names, types, defaults, units and help come from the signature and the docstring of each plan, and from nowhere else.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from plans.errors import PlanError
from plans.live_view import live_view
from plans.options import documented_parameters
from plans.rixs import elastic_scan, rixs_map
from plans.stxm import stxm_focus, stxm_image, stxm_line_spectrum, stxm_stack
from plans.stxm_series import stack_series
from plans.xas import xas

LONGEST = 200  # characters of a value, as of a name; beyond it, it is not what was meant
LARGEST = 10**12  # of a number; beyond it, it was mistyped
YES_OR_NO = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a plan.

    Attributes
    ----------
    name : str
        As in the plan's signature.
    type : type
        `str`, `int`, `float`, `bool`, or a class with a method `parse` that reads its text.
    default : Any
        `inspect.Parameter.empty` where one must be given.
    unit : str
        Empty where it has none.
    help : str
        One line.
    choices : tuple of str
        What a text may be; empty for any.
    """

    name: str
    type: type
    default: Any
    unit: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    def convert(self, text: str) -> Any:
        """Turn text into a value of the parameter's type.

        Raises
        ------
        PlanError
            Naming the parameter, the text and what was expected.
        """
        if not text.strip():
            raise PlanError(f"{self.name}: is empty; leave it out, or give it a value")
        if parse := getattr(self.type, "parse", None):
            return parse(text)
        if not text.isprintable() or len(text) > LONGEST:
            raise PlanError(f"{self.name}: {text[:40]!r} is not a text of up to {LONGEST} characters on one line")
        if self.type is bool:
            if text.lower() not in YES_OR_NO:
                raise PlanError(f"{self.name}: {text!r} is neither yes nor no")
            return YES_OR_NO[text.lower()]
        if self.choices and text not in self.choices:
            raise PlanError(f"{self.name}: {text!r} is none of {', '.join(self.choices)}")
        try:
            value = self.type(text)
        except ValueError:
            expected = "a whole number" if self.type is int else "a number"
            unit = f" in {self.unit}" if self.unit else ""
            raise PlanError(f"{self.name}: {text[:40]!r} is not {expected}{unit}") from None
        if self.type is float and not abs(value) <= LARGEST:  # plans check whole numbers, and know their limits
            raise PlanError(f"{self.name}: {text[:40]} is not a number between -{LARGEST} and {LARGEST}")
        return value


@dataclass(frozen=True)
class Plan:
    """A plan by its name: the function and what it takes after the endstation."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """The name it is run by."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """One line on what it measures."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, in order."""
        hints = typing.get_type_hints(self.function)
        documented = documented_parameters(self.function)
        _endstation, *signature = inspect.signature(self.function).parameters.values()
        return {
            parameter.name: Parameter(
                parameter.name,
                _type(hints[parameter.name]),
                parameter.default,
                documented[parameter.name].unit,
                documented[parameter.name].help,
                choices=_choices(hints[parameter.name]),
            )
            for parameter in signature
        }

    def convert(self, texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Turn (name, text) pairs into the plan's keyword arguments.

        Parameters
        ----------
        texts : iterable of (str, str)
            Names with underscores or hyphens.

        Raises
        ------
        PlanError
            For a name the plan does not have (with the nearest it has), a name given twice, a text that is not of the
            parameter's type, or a parameter that is missing.
        """
        values: dict[str, Any] = {}
        for written, text in texts:
            name = written.replace("-", "_")
            if name not in self.parameters:
                near = difflib.get_close_matches(name, self.parameters, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.parameters)}"
                raise PlanError(f"{self.name} has no parameter {written!r}; {hint}")
            if name in values:
                raise PlanError(f"{self.name}: {name} is given twice")
            values[name] = self.parameters[name].convert(text)
        for parameter in self.parameters.values():
            if parameter.required and parameter.name not in values:
                raise PlanError(f"{self.name} needs {parameter.name}: {parameter.help}")
        return values

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Turn a command line's ``--name value`` or ``--name=value`` into the plan's keyword arguments.

        Raises
        ------
        PlanError
            As `convert`, and for what is neither a name nor a value.
        """
        pairs, rest = [], iter(arguments)
        for argument in rest:
            if not argument.startswith("--"):
                raise PlanError(f"{self.name}: {argument!r} belongs to no parameter; expected --name value")
            name, equals, text = argument.removeprefix("--").partition("=")
            if not equals:
                try:
                    text = next(rest)
                except StopIteration:
                    raise PlanError(f"{self.name}: --{name} has no value") from None
            pairs.append((name, text))
        return self.convert(pairs)


def find_plan(name: str) -> Plan:
    """Give the plan of that name.

    Raises
    ------
    PlanError
        When there is none, with the nearest name there is.
    """
    if plan := PLANS.get(name.replace("-", "_")):
        return plan
    near = difflib.get_close_matches(name, PLANS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PLANS)}"
    raise PlanError(f"no plan {name!r}; {hint}")


def _type(hint: Any) -> type:
    readers: list[type] = [alternative for alternative in typing.get_args(hint) if hasattr(alternative, "parse")]
    plain: type = str if typing.get_origin(hint) is typing.Literal else hint
    return readers[0] if readers else plain


def _choices(hint: Any) -> tuple[str, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


PLANS = {
    function.__name__: Plan(function)
    for function in (
        xas,
        rixs_map,
        elastic_scan,
        stxm_image,
        stxm_stack,
        stxm_line_spectrum,
        stxm_focus,
        stack_series,
        live_view,
    )
}
