"""The shipped endstations of one technique: what each measures, and what it refuses."""

import pytest

from beamline.acquire.session import Session, measure
from beamline.endstation.config import SIMULATED
from beamline.errors import BeamlineError
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.storage.layout import REDUCTION
from beamline.storage.runs import Runs
from plans import rixs_map, stxm_stack, xas

FOLDER = SIMULATED.parent
PLANS = {
    "rixs": lambda endstation: rixs_map(endstation, "526:532:2", 300.0, edge="O K", sample="LRNMC 311 mAh/g"),
    "stxm": lambda endstation: stxm_stack(
        endstation, "520:530:2", "x=-1:1:0.25 y=-1:1:0.25", edge="O K", sample="LRNMC 311 mAh/g"
    ),
    "operando": lambda endstation: xas(
        endstation, "520:526:1, 526:550:0.5", 1.0, edge="O K", sample="LRNMC operando", scan="potentiostat=2"
    ),
}
OTHERS = {
    "rixs": (PLANS["stxm"], "stxm_stack: the endstation has no scanner"),
    "stxm": (PLANS["rixs"], "rixs_map: the endstation has no scaler .* and no ccd"),
    "operando": (PLANS["stxm"], "stxm_stack: the endstation has no scanner"),
}


def measured(config, kind, folder):
    """Measure what an endstation is for, replay, report and export it, and refuse what the endstation is not for."""
    with Session(config, folder / "data", in_process=True, followers=[REDUCTION]) as session:
        other, refusal = OTHERS[kind]
        with pytest.raises(BeamlineError, match=refusal):
            measure(session, other(session.endstation))
        uid = measure(session, PLANS[kind](session.endstation))
        assert session.drain() == ""
    runs = Runs(folder / "data")
    raw, derived = runs.load_with_derived(uid)
    assert raw.stop["exit_status"] == "success"
    assert replay(runs, uid, config=None, source="log", keep=False)["equal"]
    assert write_report(runs, uid, folder / "report.html").stat().st_size > 10_000
    assert export(runs, uid, "nexus", folder / "run.nxs")
    return raw, derived
