"""A STXM stack: from an image's last line to redrawn maps, a whole stack replayed, and lines a second on the engine.

Run as ``python tests/benchmarks/bench_stxm.py``. The peers, in the same run: drawing alone, for an image; for the
replay, reading the same lines from the log; for the line rate, the same plan on a bare RunEngine.
"""

import statistics
import tempfile
import time
from pathlib import Path

from beamline.acquire.live_picture import draw
from beamline.acquire.session import Session, measure
from beamline.operations.demonstrate import techniques as demo
from beamline.operations.replay import reduce_documents
from beamline.storage.catalogue.documents import logged_documents
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from callbacks.contract import Stream
from callbacks.pipelines import StxmSettings, stxm_stack
from plans import stxm_stack as stack_plan

ENERGIES = "520:526:1, 526:533:0.5, 533:545:2"
FIELD = "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03"
SHORT = "520:522:1"


def image_to_maps(documents):
    """Time from the last line of each image to its new results, and to the drawn picture; s."""
    start = next(doc for name, doc in documents if name == "start")
    measurement = Run(start).measurement
    chain, results, drawings = stxm_stack(StxmSettings(), measurement), [], []
    descriptors = {doc["uid"]: doc for name, doc in documents if name == "descriptor"}
    history = {"title": "", "grid": start["measurement"]["grid"], "energy": [], "shift": [], "explained": []}
    history["incident"] = []
    for name, doc in documents:
        if name != "event" or descriptors[doc["descriptor"]]["name"] != Stream.PRIMARY:
            continue
        chain.push({**doc["data"], "seq_num": doc["seq_num"]})
        begun = time.perf_counter()
        for image in chain.take_closed():
            outputs, problem = chain.behind.push(image)
            assert not problem
            results.append(time.perf_counter() - begun)
            for key, value in (("energy", outputs["energy"]), ("shift", outputs["shift"][0])):
                history[key].append(value)
            history["explained"].append(outputs["pca_explained"][:3])
            history["incident"].append(outputs["incident_rate"])
            begun = time.perf_counter()
            draw(history | {"data": outputs}).savefig("/dev/null", format="png", dpi=80)
            drawings.append(time.perf_counter() - begun)
    return results, drawings


def main():
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, Session(demo.simulated(1), Path(folder)) as session:
        endstation = session.endstation

        def plan(energies):
            return stack_plan(endstation, energies, FIELD, 0.001, sample=demo.SAMPLE, edge="O K")

        uid = measure(session, plan(ENERGIES))
        session.drain()
        documents = list(logged_documents(Runs(session.data_dir).find(uid).path))
        results, drawings = image_to_maps(documents)
        median, last, picture = statistics.median(results), results[-1], statistics.median(drawings)
        print(f"image of 120 x 120, last line to results: median {1e3 * median:.0f} ms, the last {1e3 * last:.0f} ms;")
        print(
            f"  redrawn {1e3 * (median + picture):.0f} ms after it, {(median + picture) / picture:.2f} of drawing alone"
        )
        begun = time.perf_counter()
        lines = sum(1 for name, _ in logged_documents(Runs(session.data_dir).find(uid).path) if name == "event")
        read = time.perf_counter() - begun
        begun = time.perf_counter()
        reduce_documents(logged_documents(Runs(session.data_dir).find(uid).path), {})
        whole = time.perf_counter() - begun
        print(f"replay of {lines} lines: {whole:.1f} s, {whole / read:.1f} times reading them from the log")
        rates = {"attached": [], "bare": []}
        for _ in range(3):
            begun = time.perf_counter()
            measure(session, plan(SHORT))
            rates["attached"].append(360 / (time.perf_counter() - begun))
            session.drain()
            bare = session.RE.__class__(call_returns_result=True)
            begun = time.perf_counter()
            bare(plan(SHORT))
            rates["bare"].append(360 / (time.perf_counter() - begun))
        attached, alone = (statistics.median(rates[key]) for key in ("attached", "bare"))
        print(f"lines/s: {attached:.0f} attached, {alone:.0f} bare, ratio {attached / alone:.2f}")


if __name__ == "__main__":
    main()
