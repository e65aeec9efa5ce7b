"""A STXM stack: from an image's last line to redrawn maps, a whole stack replayed, and lines a second on the engine.

Run as ``python tests/benchmarks/bench_stxm.py``. The peers, in the same run: drawing alone, for an image; for the
replay, reading the same lines from the log; for the line rate, the same plan on a bare RunEngine.
"""

import statistics
import tempfile
import time
from pathlib import Path

from harness import Result, run, seconds

from beamline.acquire.session import Session, measure
from beamline.operations.demonstrate import techniques as demo
from beamline.operations.replay import reduce_documents
from beamline.report.stxm.live import History, draw_stack
from beamline.storage.catalogue.documents import logged_documents
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from callbacks.contract import Stream
from callbacks.pipelines import StxmSettings, stxm_stack
from plans import stxm_stack as stack_plan

ENERGIES = "520:526:1, 526:533:0.5, 533:545:2"
FIELD = "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03"
SHORT = "520:522:1"
SHORT_LINES = 360


def image_to_maps(documents):
    """Time from the last line of each image to its new results, and to the drawn picture; s."""
    start = next(doc for name, doc in documents if name == "start")
    measurement = Run(start).measurement
    chain, results, drawings = stxm_stack(StxmSettings(), measurement), [], []
    descriptors = {doc["uid"]: doc for name, doc in documents if name == "descriptor"}
    history = History("", start["measurement"]["grid"])
    for name, doc in documents:
        if name != "event" or descriptors[doc["descriptor"]]["name"] != Stream.PRIMARY:
            continue
        chain.push({**doc["data"], "seq_num": doc["seq_num"]})
        begun = time.perf_counter()
        for image in chain.take_closed():
            outputs, problem = chain.behind.push(image)
            assert not problem
            results.append(time.perf_counter() - begun)
            history.append(outputs)
            begun = time.perf_counter()
            draw_stack(history, outputs).savefig("/dev/null", format="png", dpi=80)
            drawings.append(time.perf_counter() - begun)
    return results, drawings


def replay(path):
    """Time the reduction of a stack from its log, and reading its lines from it; s."""
    read, lines = seconds(lambda: sum(1 for name, _ in logged_documents(path) if name == "event"))
    whole, _ = seconds(lambda: reduce_documents(logged_documents(path), {}))
    return whole, read, lines


def line_rates(session, plan):
    """Give lines a second with everything attached and on a bare engine."""
    bare = session.RE.__class__(call_returns_result=True)
    rates = []
    for _ in range(3):
        attached, _ = seconds(lambda: measure(session, plan(SHORT)))
        session.drain()
        alone, _ = seconds(lambda: bare(plan(SHORT)))
        rates.append((SHORT_LINES / attached, SHORT_LINES / alone))
    return (statistics.median(column) for column in zip(*rates, strict=True))


def benchmark():
    """Measure a stack, reduce it image by image and whole, and measure short ones beside a bare engine."""
    with tempfile.TemporaryDirectory() as folder, Session(demo.simulated(1), Path(folder)) as session:

        def plan(energies):
            return stack_plan(session.endstation, energies, FIELD, 0.001, sample=demo.SAMPLE, edge="O K")

        uid = measure(session, plan(ENERGIES))
        session.drain()
        path = Runs(session.data_dir).find(uid).path
        results, drawings = image_to_maps(list(logged_documents(path)))
        median, picture = statistics.median(results), statistics.median(drawings)
        note = f"results after {1e3 * median:.0f} ms, those of the last image after {1e3 * results[-1]:.0f} ms"
        redrawn = median + picture
        yield Result("image of 120 x 120 to redrawn maps", 1e3 * redrawn, "ms", "drawing", picture / redrawn, note)
        whole, read, lines = replay(path)
        yield Result(f"replay of {lines} lines", whole, "s", "reading them from the log", read / whole)
        attached, alone = line_rates(session, plan)
        yield Result("STXM lines", attached, "lines/s", "bare RunEngine", attached / alone)


if __name__ == "__main__":
    run(benchmark)
