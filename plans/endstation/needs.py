"""Which roles each technique needs of an endstation, and which it can use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

from bluesky.utils import MsgGenerator

from plans.endstation.endstation import Endstation, lacking
from plans.errors import PlanError

P = ParamSpec("P")

BEAM = ("polarisation", "ring", "front_end_shutter", "shutter", "sample")


@dataclass(frozen=True)
class Needs:
    """The roles of a technique.

    Attributes
    ----------
    technique : str
    needed : tuple of str
        Roles without which nothing is measured.
    used : tuple of str
        Roles that are used where there are devices for them.
    """

    technique: str
    needed: tuple[str, ...]
    used: tuple[str, ...] = BEAM

    def lacks(self, endstation: Endstation) -> list[str]:
        """List the roles that are needed, and for which an endstation has no device."""
        return [role for role in self.needed if role not in endstation]


XAS = Needs("xas", ("energy", "scaler"), (*BEAM, "electrometer", "fluorescence", "energy_sweep"))
RIXS = Needs("rixs", ("energy", "scaler", "ccd"), (*BEAM, "ccd_dark", "spectrograph", "exit_slit"))
STXM = Needs("stxm", ("energy", "scanner"), (*BEAM, "zone_plate", "order_sorting_aperture", "coarse_x", "coarse_y"))
FOCUS = Needs("stxm focus", (*STXM.needed, "zone_plate"), BEAM)
TECHNIQUES = (XAS, RIXS, STXM)


def needing(needs: Needs) -> Callable[[Callable[P, MsgGenerator[Any]]], Callable[P, MsgGenerator[Any]]]:
    """Let a plan, whose first parameter is the endstation, refuse one that lacks what it needs, in one line.

    The plan has what it needs as its attribute `needs`.
    """

    def decorated(plan: Callable[P, MsgGenerator[Any]]) -> Callable[P, MsgGenerator[Any]]:
        @wraps(plan)
        def checked(*args: P.args, **kwargs: P.kwargs) -> MsgGenerator[Any]:
            endstation = kwargs.get("endstation", args[0] if args else None)
            assert isinstance(endstation, Endstation)
            if missing := needs.lacks(endstation):
                raise PlanError(f"{plan.__name__}: {lacking(*missing)}")
            return (yield from plan(*args, **kwargs))

        checked.needs = needs  # type: ignore[attr-defined]
        return checked

    return decorated
