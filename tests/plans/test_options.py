"""Options of plans: spelled out in signature and docstring, completed by their defaults, and no others taken."""

import inspect
from typing import Annotated, TypedDict, Unpack

import pytest

from plans.options import complete, documented_parameters, with_options


class Options(TypedDict, total=False):
    frames: Annotated[int, "Frames to take."]
    wait: Annotated[float, "s", "Time between them."]


DEFAULTS: Options = {"wait": 0.5, "frames": 1}


@with_options(Options, DEFAULTS)
def measure(endstation, energy: float, **options: Unpack[Options]):
    """Measure.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    energy : float, eV
        Excitation energy, which may take
        two lines.
    frames : int
        Frames to take here.

    Returns
    -------
    dict
    """
    return complete(options, DEFAULTS)


def test_options_stand_in_the_signature_in_the_order_of_their_defaults():
    parameters = inspect.signature(measure).parameters
    assert list(parameters) == ["endstation", "energy", "wait", "frames"]
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in DEFAULTS)


def test_options_stand_in_the_docstring_where_the_plans_own_words_take_precedence():
    documented = documented_parameters(measure)
    assert list(documented) == ["endstation", "energy", "frames", "wait"]
    assert documented["frames"].help == "Frames to take here."
    assert (documented["wait"].type, documented["wait"].unit, documented["wait"].help) == (
        "float",
        "s",
        "Time between them.",
    )
    assert documented["energy"].help == "Excitation energy, which may take two lines."
    assert inspect.getdoc(measure).endswith("Returns\n-------\ndict")


def test_options_that_are_left_out_have_their_defaults_and_no_others_are_taken():
    assert measure(None, 530.0, frames=3) == {"wait": 0.5, "frames": 3}
    with pytest.raises(TypeError, match="unexpected keyword argument 'frame'; expected some of wait, frames"):
        measure(None, 530.0, frame=3)
