"""Maps of fractions, coefficients and edge positions, against the field's own programs: speed, and the same numbers.

Run as ``python tests/benchmarks/bench_analysis.py``; needs ``pip install xraylarch exspy``, which are not among what
the project installs, and an hour of nothing else. Larch fits one spectrum at a time, so that its loop over the pixels
is timed over some of them and scaled to all, and so is HyperSpy's, by which exspy fits.
"""

import warnings

import numpy as np
from harness import Result, run, seconds

from callbacks.analysis import Spectra
from callbacks.analysis.composition import Composition
from callbacks.analysis.self_absorption import Escape, corrected_yield
from callbacks.fitting.linear_combination import fit_linear_combination
from callbacks.xas.edge_position import edge_position
from callbacks.xas.mlls import fit_mlls

SIDE, ENERGIES, LOOPED = 250, 100, 200  # pixels, energies; pixels that peers are timed over
ENERGY = np.linspace(620.0, 680.0, ENERGIES)


def references():
    def one(first, second):
        lines = np.exp(-0.5 * ((ENERGY - first) / 1.2) ** 2) + 0.5 * np.exp(-0.5 * ((ENERGY - second) / 1.4) ** 2)
        return lines + 0.3 * (0.5 + np.arctan((ENERGY - 640.0) / 0.8) / np.pi)

    return np.array([one(639.5, 650.5), one(641.0, 652.0), one(642.5, 653.5)])


def spectra(law):
    """A map of mixtures, with noise; on a power law where asked for."""
    rng = np.random.default_rng(3)
    fractions = rng.dirichlet((1, 1, 1), SIDE**2)
    values = fractions @ references() + rng.normal(0.0, 0.01, (SIDE**2, ENERGIES))
    if law:
        values += rng.uniform(1.0, 2.0, (SIDE**2, 1)) * (ENERGY / 650.0) ** -3.0
    return values


def result(name, ours, theirs, spent, peer, *, note=""):
    """Compare what both found, and how long a map takes."""
    difference = np.nanmax(np.abs(ours - theirs)) / np.nanmax(np.abs(theirs))
    said = f"largest difference {difference:.1e} of the largest value{note}"
    return Result(f"{name}, {SIDE} x {SIDE} x {ENERGIES}", spent[0], "s", peer, spent[1] / spent[0], said)


def lcf():
    """`fit_linear_combination` beside `larch.math.lincombo_fitting`."""
    from larch import Group
    from larch.math.lincombo_fitting import lincombo_fit

    values = spectra(law=False)
    spent, found = seconds(lambda: fit_linear_combination(ENERGY, values, references(), np.full(ENERGIES, 1e-4)))
    components = [Group(energy=ENERGY, norm=values_of, filename=str(n)) for n, values_of in enumerate(references())]

    def loop():
        answers = []
        for one in values[:LOOPED]:
            group = Group(energy=ENERGY, norm=one, filename="spectrum")
            fit = lincombo_fit(group, components, minvals=[0.0] * 3, arrayname="norm", sum_to_one=False)
            answers.append([fit.result.params[f"c{n}"].value for n in range(3)])
        return np.array(answers)

    taken, theirs = seconds(loop)
    inside = (theirs > 1e-3).all(axis=1) & (found.fractions[:LOOPED] > 1e-3).all(axis=1)
    return result(
        "LCF", found.fractions[:LOOPED][inside], theirs[inside],
        (spent, taken * len(values) / LOOPED), "larch, lincombo_fit in a loop",
    )  # fmt: skip


def mlls():
    """`fit_mlls` beside a fit of the components that exspy makes its model of, pixel by pixel."""
    import hyperspy.api as hs
    from hyperspy.components1d import PowerLaw

    values = spectra(law=True)
    spent, found = seconds(lambda: fit_mlls(ENERGY, values, references(), np.full(ENERGIES, 1e-4)))
    few = LOOPED // 10
    signal = hs.signals.Signal1D(values[:few])
    signal.axes_manager[-1].scale, signal.axes_manager[-1].offset = ENERGY[1] - ENERGY[0], ENERGY[0]
    model = signal.create_model()
    law = PowerLaw()
    law.origin.value, law.left_cutoff.value = 0.0, 0.0
    law.A.value, law.r.value = 1.5 * 650.0**3, 3.0
    model.append(law)
    for values_of in references():
        pattern = hs.signals.Signal1D(values_of)
        pattern.axes_manager[-1].scale, pattern.axes_manager[-1].offset = ENERGY[1] - ENERGY[0], ENERGY[0]
        component = hs.model.components1D.ScalableFixedPattern(pattern)
        component.shift.free = component.xscale.free = False
        model.append(component)
    taken, _ = seconds(lambda: model.multifit(optimizer="lm", show_progressbar=False))
    theirs = np.array([component.yscale.map["values"] for component in list(model)[1:]]).T
    return result(
        "MLLS", found.coefficients[:few], theirs,
        (spent, taken * len(values) / few), "exspy, multifit",
    )  # fmt: skip


def edges():
    """`edge_position` beside larch's `pre_edge`, whose e0 is the largest slope: another quantity."""
    from larch import Group
    from larch.xafs import pre_edge

    rng = np.random.default_rng(4)
    energy = np.linspace(8300.0, 8450.0, ENERGIES)
    position = rng.uniform(8340.0, 8346.0, (SIDE**2, 1))
    values = 1 / (1 + np.exp(-(energy - position) / 1.5)) + rng.normal(0.0, 0.003, (SIDE**2, ENERGIES))
    windows = {"pre_edge": (8300.0, 8330.0), "post_edge": (8380.0, 8450.0)}
    spent, found = seconds(lambda: edge_position(energy, values, np.full(ENERGIES, 9e-6), **windows))

    def loop():
        answers = []
        for one in values[:LOOPED]:
            group = Group(energy=energy, mu=one)
            pre_edge(group, pre1=-40, pre2=-15, norm1=40, norm2=105, nnorm=0)
            # half of larch's own normalised spectrum, between its points
            above = int(np.argmax(group.flat > 0.5))
            low, high = group.flat[above - 1], group.flat[above]
            answers.append(energy[above - 1] + (0.5 - low) / (high - low) * (energy[1] - energy[0]))
        return np.array(answers)

    taken, theirs = seconds(loop)
    ours, truth = found.position[:LOOPED], position[:LOOPED, 0]
    note = (
        f"; off the truth by {np.nanmean(ours - truth):+.4f} ± {np.nanstd(ours - truth):.4f} eV,"
        f" larch {np.nanmean(theirs - truth):+.4f} ± {np.nanstd(theirs - truth):.4f} eV"
    )
    peer = "larch, pre_edge in a loop"
    return result("edge position", ours, theirs, (spent, taken * len(values) / LOOPED), peer, note=note)


def self_absorption():
    """`corrected_yield` beside larch's `fluo_corr`, which takes absorption beside the edge to be constant."""
    from larch import Group
    from larch.xafs import fluo_corr

    energy = np.linspace(7000.0, 7400.0, 401)
    composition = Composition("LiFePO4", "Fe K")
    escape = Escape(composition, 40.0, 50.0)
    truth = 1 / (1 + np.exp(-(energy - 7120.0) / 1.5)) + 0.6 * np.exp(-0.5 * ((energy - 7131.0) / 4.0) ** 2)
    truth += 0.1 * np.sin((energy - 7120.0) / 12.0) * np.exp(-((energy - 7120.0) / 60.0)) * (energy > 7120.0)
    into, out = escape.ways()
    rest, step = composition.rest(energy) * into, composition.step(energy) * into
    far = float(composition.rest(np.array([composition.line]))[0]) * out
    values = truth * step / (rest + step * truth + far)
    of_larch = {"e0": 7120.0, "pre1": -120, "pre2": -30, "norm1": 180, "norm2": 280, "nnorm": 0}
    windows = {"pre_edge": (7000.0, 7090.0), "post_edge": (7300.0, 7400.0), "background": "linear"}
    spent, (found, _) = seconds(
        lambda: corrected_yield(Spectra(energy, values, np.full(401, 1e-8)), escape, composition.line, **windows)
    )

    def peer():
        group = Group(energy=energy, mu=values.copy())
        sample = {"formula": composition.formula, "elem": "Fe", "line": "Ka1", "anginp": 40.0, "angout": 50.0}
        fluo_corr(energy, values.copy(), group=group, **sample, **of_larch)
        return group.norm_corr

    taken, theirs = seconds(peer)
    ours, truth = found.values, truth / truth[energy >= 7300.0].mean()
    near = (energy > 7100.0) & (energy < 7200.0)
    flat = values / values[energy >= 7300.0].mean()
    difference = np.abs(ours - theirs)[near].max()
    note = (
        f"largest difference {difference:.1e} steps within 80 eV of the edge; off the truth by"
        f" {np.abs(ours - truth)[near].max():.1e}, larch {np.abs(theirs - truth)[near].max():.1e}, uncorrected"
        f" {np.abs(flat - truth)[near].max():.1e}; ours with its uncertainty, of {len(energy)} points"
    )
    return Result("self-absorption of a yield", spent, "s", "larch, fluo_corr", taken / spent, note)


def benchmark():
    fit_linear_combination(ENERGY, spectra(law=False)[:16], references(), np.full(ENERGIES, 1e-4))  # compiles
    for compare in (lcf, mlls, edges, self_absorption):
        yield compare()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # of the peers' imports
    run(benchmark)
