"""A plan is repeated at positions of a device: what moves when, what the runs say, and what is refused."""

import dataclasses

import pytest

from callbacks.contract import SERIES
from plans import rixs_map, stxm_image, xas
from plans.errors import PlanError
from plans.scanned import ScanAxis


@pytest.fixture
def cryostat(endstation):
    device = type(endstation.energy)("cryostat", endstation.energy.clock, 295.0)
    device.limits, device.units = (4.0, 400.0), "K"
    return device


@pytest.fixture
def cooled(endstation, cryostat):
    return dataclasses.replace(endstation, added={"cryostat": cryostat}, units={"cryostat": "K"})


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("cryostat=20:80:30", [20, 50, 80]),
        ("cryostat=80:20:-30, 4", [80, 50, 20, 4]),
        ("cryostat=1e1", [10]),
        ("potentiostat=0, 131, 311", [0, 131, 311]),
    ],
)
def test_positions_are_read_and_written_again(text, positions):
    axis = ScanAxis.parse(text)
    assert list(axis.positions) == positions
    assert ScanAxis.parse(str(axis)) == axis


@pytest.mark.parametrize("step", ["1e-3", "1e-12", "1e-40"])
def test_too_many_positions_are_counted_without_making_them(step):
    with pytest.raises(PlanError, match=r"\d+ positions, expected at most 1000|is too fine to count"):
        ScanAxis.parse(f"cryostat=20:80:{step}")


def test_each_position_is_a_run_and_the_device_moves_before_it_is_opened(cooled, cryostat, engine, documents):
    at_start = []
    engine.subscribe(lambda _name, _doc: at_start.append(cryostat.value), "start")
    engine(xas(cooled, "520:522:1", scan="cryostat=20:80:30"))
    assert at_start == [20, 50, 80]
    blocks = [start[SERIES] for start in documents.of("start")]
    assert [(block["index"], block["runs"], block["axis"], block["position"], block["unit"]) for block in blocks] == [
        (0, 3, "cryostat", 20, "K"),
        (1, 3, "cryostat", 50, "K"),
        (2, 3, "cryostat", 80, "K"),
    ]
    assert len({block["uid"] for block in blocks}) == 1
    assert documents.of("start")[0]["plan_args"]["scan"] == "cryostat=20:80:30"


def test_without_it_a_plan_is_as_it_was(cooled, engine, documents):
    engine(xas(cooled, "520:522:1"))
    (start,) = documents.of("start")
    assert SERIES not in start
    assert "scan" not in start["plan_args"]


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ("cryostat", "expected device=start:stop:step"),
        ("cryostat=", "'' is not a number"),
        ("cryostat=20:80:0", "expected device=start:stop:step"),
        ("cryostat=20:80:7", "not a whole number of steps"),
        ("cryostat=4:404:0.1", "expected at most 1000"),
        ("cryostat=2", "cryostat: 2 K is outside its limits 4 to 400 K"),
        ("scaler=1", "scan: 'scaler' is no device that can be moved beside a plan; there are exit_slit"),
    ],
)
def test_what_cannot_be_scanned_is_refused_before_anything_moves(cooled, cryostat, simulator, scan, message):
    with pytest.raises(PlanError, match=message):
        simulator.simulate_plan(xas(cooled, "520:522:1", scan=scan))
    assert cryostat.value == 295.0


@pytest.mark.parametrize(
    "plan",
    [
        lambda endstation, **scan: rixs_map(endstation, "52:53:1", 1.0, **scan),
        lambda endstation, **scan: stxm_image(endstation, 52.0, "x=-1:1:0.5 y=0:1:0.5", **scan),
    ],
)
def test_a_plan_that_is_refused_moves_nothing(cooled, cryostat, simulator, plan):
    cooled.energy.limits = (200.0, 1500.0)
    with pytest.raises(PlanError, match="energy"):
        simulator.simulate_plan(plan(cooled, scan="cryostat=20"))
    assert cryostat.value == 295.0
