"""What the queue server's worker imports: an engine that records, and the plans by name, as the queue may run them.

``start-re-manager --startup-module beamline.serve.queue_startup``. The worker has the engine and the recorder; what
follows the logs runs beside it, and nothing that computes shares its interpreter. Configuration and data folder are
those that BEAMLINE_CONFIG and BEAMLINE_DATA_DIR name, as in `beamline.startup`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from bluesky.utils import MsgGenerator

from beamline.acquire.session import Session
from beamline.serve.measuring import measuring_session
from beamline.serve.parts import Places
from beamline.storage.locks import locked
from plans import PLANS
from plans.registry import Parameter, Plan


def queued(plan: Plan, session: Session) -> Callable[..., MsgGenerator[Any]]:
    """Give a plan as the queue server takes it: a generator function that is typed by what JSON can hold.

    Its parameters are those of the plan after the endstation, each of the same kind and with the same default; a class
    that reads its text (regions of energies, say) becomes text.
    """

    def run(*args: Any, **kwargs: Any) -> MsgGenerator[Any]:
        return (yield from plan.function(session.endstation, *args, **kwargs))

    _endstation, *signature = inspect.signature(plan.function).parameters.values()
    types = {name: json_type(parameter) for name, parameter in plan.parameters.items()}
    run.__name__ = run.__qualname__ = plan.name
    run.__doc__ = plan.function.__doc__
    run.__annotations__ = types
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(annotation=types[each.name], default=_default(each)) for each in signature]
    )
    return run


def json_type(parameter: Parameter) -> Any:
    """Give the type that JSON has for a parameter: `str` for what a class reads from text, a `Literal` of choices."""
    if parameter.choices:
        return Literal[parameter.choices]
    return str if hasattr(parameter.type, "parse") else parameter.type


def _default(parameter: inspect.Parameter) -> Any:
    return parameter.default if parameter.default is parameter.empty else _plain(parameter.default)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


session = measuring_session()
session.__enter__()
_alive = locked(
    Places.of(session.data_dir).worker_lock, keep_waiting=lambda: False
)  # for as long as this process lives
_alive.__enter__()
RE = session.RE
globals().update({name: queued(plan, session) for name, plan in PLANS.items()})
