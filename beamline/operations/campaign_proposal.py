"""What the spectra of a campaign tell, and the excitation energies that are proposed for its maps."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.storage.runs import Runs
from callbacks.contract import XasResult
from callbacks.xas.features import ExcitationSettings, Feature, find_features, onset, propose_excitations
from plans import PlanError
from plans.regions import EnergyRegions

REGIONS = "regions"  # the parameter of a plan that takes the energies that are proposed
HEAD = "# Excitation energies of the maps, eV of the monochromator; as changed here, they are measured.\n"


@dataclass(frozen=True)
class Found:
    """What the spectrum of a sample tells.

    Attributes
    ----------
    sample, run, channel : str
        Name of the sample, uid of the run, and the channel in which features were looked for.
    onset : float
        eV of the monochromator.
    features : list of Feature
        eV of the monochromator.
    """

    sample: str
    run: str
    channel: str
    onset: float
    features: list[Feature]


@dataclass(frozen=True)
class Proposal:
    """The excitation energies of the maps.

    Attributes
    ----------
    regions : str
        As plans take them.
    points : int
    path : Path
        The file in which they can be changed.
    changed : bool
        Whether they are those of the file, which was there.
    found : list of Found
    offset, offset_sigma : float
        eV, of the monochromator; NaN where it is not calibrated.
    """

    regions: str
    points: int
    path: Path
    changed: bool
    found: list[Found]
    offset: float
    offset_sigma: float


def proposal_lines(proposal: Proposal) -> Iterator[tuple[str, str]]:
    """Describe what was found in the spectra, and the energies that follow."""
    applied = proposal.offset if math.isfinite(proposal.offset) else 0.0
    scale = "calibrated" if math.isfinite(proposal.offset) else "by the monochromator"
    for each in proposal.found:
        features = [
            f"{one.energy + applied:.3f} ± {math.hypot(one.sigma, proposal.offset_sigma or 0.0):.3f}"
            if math.isfinite(proposal.offset_sigma)
            else f"{one.energy:.3f} ± {one.sigma:.3f}"
            for one in each.features
            if one.status == "ok"
        ]
        yield each.sample, f"features at {', '.join(features) or 'no energy'} eV, {scale}"
    kept = "as changed in" if proposal.changed else "proposed; they can be changed in"
    yield "energies", f"{proposal.regions} ({proposal.points}, by the monochromator), {kept} {proposal.path}"


def found_in(runs: Runs, uid: str, sample: str, channel: str) -> Found:
    """Find onset and features in a channel of a spectrum; `BeamlineError` where it has no normalised one."""
    raw, derived = runs.load_with_derived(uid)
    if derived is None:
        raise BeamlineError(f"run {raw.uid}: is not reduced")
    result = derived.read(XasResult)
    spectrum = result.spectra.get(channel)
    if spectrum is None:
        raise BeamlineError(f"channel: the spectra have no {channel!r}, only {', '.join(result.spectra)}")
    if spectrum.status != "ok":
        raise BeamlineError(f"run {raw.uid}: {channel} of {sample}: {spectrum.status}")
    energy = result.xas_energy - (result.energy_offset if math.isfinite(result.energy_offset) else 0.0)
    return Found(
        sample=sample,
        run=raw.uid,
        channel=channel,
        onset=onset(energy, spectrum.normalised, spectrum.sigma),
        features=find_features(energy, spectrum.normalised, spectrum.sigma),
    )


def propose(
    path: Path, found: list[Found], offset: tuple[float, float], measured: str, settings: ExcitationSettings
) -> Proposal:
    """Propose the energies of the maps, unless a file beside the campaign's has them.

    Parameters
    ----------
    path : Path
        The file of the campaign.
    found : list of Found
    offset : (float, float)
        eV, of the monochromator, and its uncertainty; NaN where it is not calibrated.
    measured : str
        The energies of the spectra, as plans take them.
    settings : ExcitationSettings

    Raises
    ------
    BeamlineError
        When nothing can be proposed, or the file cannot be read or written.
    """
    file = path.with_suffix(".energies.toml")
    if changed := file.exists():
        try:
            regions = str(tomllib.loads(file.read_text(encoding="utf-8"))[REGIONS])
        except (OSError, ValueError, KeyError) as error:
            raise BeamlineError(f'{file}: expected a line like regions = "526:536:0.2": {error}') from error
    else:
        spectra = EnergyRegions.of(measured).points
        features = [feature for each in found for feature in each.features]
        begins = [each.onset for each in found]
        try:
            regions = propose_excitations(features, begins, (float(spectra[0]), float(spectra[-1])), settings)
        except ValueError as error:
            raise BeamlineError(f"{path}: {error}") from error
    try:
        points = len(EnergyRegions.of(regions).points)
    except PlanError as error:
        raise BeamlineError(f"{file}: {error}") from error
    proposal = Proposal(regions, points, file, changed, found, *offset)
    if not changed:
        said = "".join(f"# {name}: {text}\n" for name, text in proposal_lines(proposal) if name != "energies")
        try:
            file.write_text(
                f'{HEAD}{said}{REGIONS} = "{regions}"\n',
                encoding="utf-8",
            )
        except OSError as error:
            raise BeamlineError(f"{file}: cannot be written: {error.strerror}") from error
    return proposal
