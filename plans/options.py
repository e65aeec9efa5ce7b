"""Parameters that several plans take: typed, documented and given their defaults once.

A plan takes them as ``**options``, typed by a `TypedDict` whose fields carry their help. `with_options` spells them out
in the plan's signature and docstring, which is where the command line, forms and IPython read them.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, TypeVar, cast

_PARAMETER = re.compile(r"^(?P<name>\w+) : (?P<type>[^,]*)(?:, (?P<unit>\S+))?$")
_SECTION = "Parameters\n----------\n"

Plan = TypeVar("Plan", bound=Callable[..., Any])
Options = TypeVar("Options", bound=Mapping[str, Any])


class PolarisationOptions(TypedDict, total=False):
    """With what light it is measured."""

    polarisation: Annotated[
        str,
        "How the light is polarised: LH, LV, C+, C- or degrees from the horizontal; as it is when left out.",
    ]


class SampleOptions(PolarisationOptions, total=False):
    """What is measured."""

    sample: Annotated[str, "Sample to move into the beam; the one that is there when left out."]
    edge: Annotated[str, 'Absorption edge, kept with the data, as in "Co L3".']


SAMPLE: SampleOptions = {"sample": "", "edge": "", "polarisation": ""}


@dataclass(frozen=True)
class Documented:
    """A parameter as a numpydoc docstring has it.

    Attributes
    ----------
    type : str
    unit : str
        Empty where it has none.
    help : str
        One line.
    """

    type: str
    unit: str
    help: str


def complete(options: Options, defaults: Options) -> Options:
    """Give all options of a plan, those that are left out by their defaults; `TypeError` for one it does not have."""
    if unknown := [name for name in options if name not in defaults]:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; expected some of {', '.join(defaults)}")
    return cast("Options", {**defaults, **options})


def with_options(options: type, defaults: Mapping[str, Any]) -> Callable[[Plan], Plan]:
    """Spell out what a plan takes as ``**options``, in its signature and docstring.

    Parameters
    ----------
    options : type
        A `TypedDict`; each field is `Annotated` with its help, or with unit and help.
    defaults : mapping of str to value
        In the order of the signature. What a plan's own docstring says of one of them takes precedence.
    """
    hints = typing.get_type_hints(options, include_extras=True)
    written = inspect.formatannotation  # as the other parameters are, whose annotations are not evaluated

    def spell_out(plan: Plan) -> Plan:
        signature = inspect.signature(plan)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        types = {name: typing.get_args(hints[name])[0] for name in defaults}
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=written(types[name]))
            for name, default in defaults.items()
        ]
        plan.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        plan.__annotations__ = {name: hint for name, hint in plan.__annotations__.items() if name != "options"} | types
        before, own_help, after = _split(inspect.getdoc(plan) or "")
        texts = own_help | {name: own_help.get(name) or _documented(hints[name]) for name in defaults}
        plan.__doc__ = f"{before}{_SECTION}{_section(texts)}{after}"
        return plan

    return spell_out


def documented_parameters(function: Callable[..., Any]) -> dict[str, Documented]:
    """Give what the section `Parameters` of a function's numpydoc docstring says of each."""
    return _split(inspect.getdoc(function) or "")[1]


def _split(docstring: str) -> tuple[str, dict[str, Documented], str]:
    """Give the section `Parameters` of a docstring, and the text before and after it."""
    before, _, rest = docstring.partition(_SECTION)
    section, blank, after = rest.partition("\n\n")
    found: dict[str, Documented] = {}
    name = ""
    for line in section.splitlines():
        if match := _PARAMETER.match(line):
            name = match["name"]
            found[name] = Documented(match["type"], match["unit"] or "", "")
        else:
            one = found[name]
            found[name] = Documented(one.type, one.unit, f"{one.help} {line.strip()}".strip())
    return before, found, blank + after


def _section(parameters: Mapping[str, Documented]) -> str:
    return "\n".join(
        f"{name} : {one.type}{', ' if one.unit else ''}{one.unit}\n    {one.help}" for name, one in parameters.items()
    )


def _documented(hint: Any) -> Documented:
    """Give what an annotated field says of a parameter."""
    kind, *texts = typing.get_args(hint)
    name = "str" if typing.get_origin(kind) is Literal else kind.__name__
    return Documented(name, texts[0] if len(texts) > 1 else "", texts[-1])
