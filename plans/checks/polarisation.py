"""The polarisation that a plan is asked for: whether the endstation can give it at every energy."""

from __future__ import annotations

from collections.abc import Iterable

from callbacks.contract import polarisation_called
from plans.endstation import Endstation, lacking
from plans.errors import PlanError

PAIR = 2


def check_polarisation(endstation: Endstation, asked: str, energies: Iterable[float], *, most: int = 1) -> list[str]:
    """Check that the light can be polarised as asked at every energy.

    Parameters
    ----------
    endstation : Endstation
    asked : str
        A polarisation, or several separated by commas; "" for the one that there is.
    energies : iterable of float
        eV.
    most : int
        How many the plan alternates between.

    Returns
    -------
    list of str
        The polarisations by their names in documents; none where none was asked for.

    Raises
    ------
    PlanError
        Naming what is no polarisation, what the endstation lacks, or the energy that is out of reach.
    """
    names: list[str] = []
    for text in asked.split(",") if asked else ():
        try:
            names.append(polarisation_called(text))
        except ValueError as error:
            raise PlanError(f"polarisation: {error}") from error
    if len(names) > most:
        expected = "one" if most == 1 else f"{most} at most"
        raise PlanError(f"polarisation: {asked!r} are {len(names)}, expected {expected}")
    if len(set(names)) < len(names):
        raise PlanError(f"polarisation: {asked!r} is the same twice, expected two to alternate between")
    if "polarisation" not in endstation:
        if names:
            raise PlanError(f"polarisation: {asked!r}, but {lacking('polarisation')}")
        return []
    device = endstation.polarisation
    present = [] if names else [device.position]
    if present == [""]:
        raise PlanError(f"{device.name}: the undulator has no polarisation that it knows, expected one to be asked for")
    energies = list(energies)
    try:
        for name in names:
            device.check_value(name)
        for name in names or present:
            for energy in energies:
                device.check_energy(name, energy)
    except ValueError as error:  # ophyd's LimitError is one
        raise PlanError(str(error)) from error
    return names
