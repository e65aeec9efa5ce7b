"""STXM plans: which line is measured when, with what light and focus, and what is refused."""

import threading
import time

import numpy as np
import pytest
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import NullStatus
from ophyd.status import Status

from callbacks.contract import MEASUREMENT, SERIES, Key, Measurement, StxmRegion
from plans.errors import PlanError
from plans.measuring.held import HeldSettings
from plans.regions import EdgeEnergies
from plans.stxm import stxm_focus, stxm_image, stxm_line_spectrum, stxm_stack
from plans.stxm_series import stack_series

SMALL = "x=-1:1:0.5 y=0:0.2:0.1"  # 3 lines of 5 pixels
TWO = "x=-1:1:0.5 y=0:0.2:0.1; x=2:2.4:0.1 y=5:5.1:0.1"  # 3 and 2 lines


def lines(documents, stream="primary"):
    """Energy, first x, last x, y, dwell and position of the zone plate of each event."""
    return [
        (
            event["data"][Key.ENERGY],
            *np.asarray(event["data"][Key.STXM_X])[[0, -1]],
            event["data"][Key.STXM_Y][0],
            event["data"][Key.STXM_DWELL][0],
            event["data"][Key.ZONE_PLATE],
        )
        for event in documents.events(stream)
    ]


def sets(messages, device=None):
    """What the messages set: (device's name, value), the held settings left out."""
    return [
        (message.obj.name, message.args[0])
        for message in messages
        if message.command == "set"
        and not isinstance(message.obj, HeldSettings)
        and (device is None or message.obj is device)
    ]


def test_a_line_tells_the_devices_what_changed_and_no_more(simulator, endstation):
    messages = simulator.simulate_plan(stxm_stack(endstation, "520, 521", SMALL, 0.002, dark_lines=2))
    told = [[]]
    for message in messages:
        if message.command == "checkpoint":
            told.append([])
        elif message.command == "set" and not isinstance(message.obj, HeldSettings):
            told[-1].append((message.obj.name, message.args[0]))
    everything = {
        ("energy", 520.0),
        ("scanner_x_start", -1.0),
        ("scanner_x_stop", 1.0),
        ("scanner_columns", 5),
        ("scanner_dwell", 0.002),
        ("scanner_mode", "line"),
        (Key.ZONE_PLATE, -1300.0),
        ("scanner_y", 0.0),
    }
    assert told[0] == [("shutter", "closed")]
    assert set(told[1]) == {("shutter", "closed"), *everything}
    assert told[2] == []
    assert told[3:6] == [[("shutter", "open")], [("scanner_y", 0.1)], [("scanner_y", 0.2)]]
    assert set(told[6]) == {("energy", 521.0), (Key.ZONE_PLATE, -1302.5), ("scanner_y", 0.0)}
    assert told[7:] == [[("scanner_y", 0.1)], [("scanner_y", 0.2)], [("shutter", "closed")]]


def test_each_line_is_a_checkpoint_a_trigger_and_an_event(simulator, endstation):
    messages = simulator.simulate_plan(stxm_stack(endstation, "520, 521", SMALL, dark_lines=2))
    steps = [
        message.command
        for message in messages
        if message.command in ("stage", "open_run", "checkpoint", "trigger", "save", "close_run", "unstage")
    ]
    lines = ["checkpoint", "trigger", "save"] * (2 + 2 * 3)
    assert steps == ["stage", "open_run", *lines, "checkpoint", "close_run", "unstage"]
    streams = [message.kwargs["name"] for message in messages if message.command == "create"]
    assert streams == ["dark"] * 2 + ["primary"] * 6


def test_each_event_is_at_the_place_its_number_says(engine, documents, endstation):
    engine(stxm_stack(endstation, "520, 521:522:0.5@0.003", TWO, 0.002))
    grid = Measurement.model_validate(documents.of("start")[0][MEASUREMENT]).grid
    assert [region.rows for region in grid.regions] == [3, 2]
    events = documents.events("primary")
    assert [event["seq_num"] for event in events] == list(range(1, 4 * 5 + 1))
    for event, (energy, x_first, x_last, y, dwell, zone_plate) in zip(events, lines(documents), strict=True):
        e, region, row = grid.place(event["seq_num"])
        assert energy == grid.energies[e]
        assert (x_first, x_last) == grid.regions[region].x
        assert y == [[0.0, 0.1, 0.2], [5.0, 5.1]][region][row]
        assert dwell == (0.002 if e == 0 else 0.003)
        assert zone_plate == -2.5 * energy
        assert event["data"].keys() >= {"ring", *(str(key) for key in Key if key.startswith("stxm_"))}


def test_the_start_document_says_what_was_asked_for(engine, documents, endstation):
    uid = engine(
        stxm_stack(
            endstation, "520:521:1", SMALL, sample="NMC charged", edge="O K", mode="point", blank="x=0.4:1 y=0:0.2"
        )
    )[0]
    start = documents.of("start")[0]
    assert start["uid"] == uid
    measurement = Measurement.model_validate(start[MEASUREMENT])
    assert (measurement.technique, measurement.points, measurement.exposure_time) == ("stxm", 6, 0.001)
    assert (measurement.sample, measurement.edge, measurement.energy_regions) == ("NMC charged", "O K", "520:521:1")
    assert measurement.grid.regions == [StxmRegion(x=(-1, 1), y=(0, 0.2), columns=5, rows=3)]
    assert (measurement.grid.mode, measurement.grid.blank) == ("point", (0.4, 1.0, 0.0, 0.2))
    assert start["plan_args"] == {
        "energies": "520:521:1",
        "regions": SMALL,
        "dwell": 0.001,
        "sample": "NMC charged",
        "edge": "O K",
        "polarisation": "",
        "mode": "point",
        "follow_focus": True,
        "blank": "x=0.4:1 y=0:0.2",
        "dark_lines": 3,
        "until_fraction_sigma": 0.0,
        "most_passes": 5,
        "most_time": 0.0,
    }
    assert start["hints"]["dimensions"] == [(["energy"], "primary"), (["stxm_y"], "primary")]
    assert endstation.sample.value == "NMC charged"
    assert endstation.scanner.mode.value == "point"
    assert (endstation.coarse_x.history, endstation.coarse_y.history) == ([], [])


def test_dark_lines_are_taken_in_the_dark_before_the_others_in_the_light(engine, documents, endstation):
    shutter = []
    endstation.scanner.before_trigger = lambda: shutter.append(endstation.shutter.value)
    engine(stxm_image(endstation, 520.0, SMALL, dark_lines=2))
    assert shutter == ["closed"] * 2 + ["open"] * 3
    assert lines(documents, "dark") == [(520.0, -1.0, 1.0, 0.0, 0.001, -1300.0)] * 2
    dark, primary = documents.of("descriptor")
    assert (dark["name"], primary["name"]) == ("dark", "primary")
    assert dark["data_keys"].keys() == primary["data_keys"].keys()
    assert endstation.shutter.value == "closed"


def test_without_following_the_zone_plate_stays_where_it_is(engine, documents, endstation):
    endstation.zone_plate.value = -1234.0
    engine(stxm_stack(endstation, "520, 540", SMALL, follow_focus=False))
    assert endstation.zone_plate.history == []
    assert {line[-1] for line in lines(documents)} == {-1234.0}


def test_a_line_spectrum_is_one_line_at_each_energy(engine, documents, endstation):
    engine(stxm_line_spectrum(endstation, "520:523:1", "x=-1:1:0.5 y=0.3"))
    assert lines(documents) == [(energy, -1.0, 1.0, 0.3, 0.001, -2.5 * energy) for energy in (520, 521, 522, 523)]
    start = documents.of("start")[0]
    measurement = Measurement.model_validate(start[MEASUREMENT])
    assert (measurement.technique, measurement.points, measurement.grid.lines) == ("stxm_line_spectrum", 4, 1)
    assert start["hints"]["dimensions"] == [(["energy"], "primary")]


def test_a_focus_scan_moves_the_zone_plate_about_the_nominal_focus(engine, documents, endstation):
    engine(stxm_focus(endstation, 520.0, "x=-1:1:0.5 y=0.3", "-10:10:5"))
    positions = [-1310.0, -1305.0, -1300.0, -1295.0, -1290.0]
    assert lines(documents) == [(520.0, -1.0, 1.0, 0.3, 0.001, position) for position in positions]
    start = documents.of("start")[0]
    measurement = Measurement.model_validate(start[MEASUREMENT])
    assert (measurement.technique, measurement.points) == ("stxm_focus", 5)
    assert measurement.grid.zone_plate == positions
    assert measurement.grid.regions == [StxmRegion(x=(-1, 1), y=(0.3, 0.3), columns=5, rows=5)]
    assert [measurement.grid.place(number) for number in (1, 5)] == [(0, 0, 0), (0, 0, 4)]
    assert start["hints"]["dimensions"] == [(["zone_plate"], "primary")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"energies": "100:300:10"}, "energy: 100 eV is outside its limits 200 to 1500 eV"),
        ({"energies": "520, 1300"}, "zone_plate: -3250 um is outside its limits -3000 to 0 um"),
        ({"regions": "x=-20:0:1 y=0"}, "scanner_x_start: -20 um is outside its limits -15 to 15 um"),
        ({"regions": "x=0:20:1 y=0"}, "scanner_x_stop: 20 um is outside its limits -15 to 15 um"),
        ({"regions": "x=0:2:1 y=0; x=0:2:1 y=10:16:1"}, "scanner_y: 16 um is outside its limits -15 to 15 um"),
        ({"regions": "x=0:6:0.001 y=0"}, "scanner_columns: 6001 pixels is outside its limits 2 to 5000 pixels"),
        ({"regions": "x=0:6:0.2 y=0; x=0:6:0.1 y=0"}, "61 pixels a line, expected 31 as in 'x=0:6:0.2 y=0'"),
        ({"energies": "400:1000:0.01", "regions": "x=0:2:1 y=0:1:0.01"}, "lines of all images: 6060101, expected 1 to"),
        ({"energies": "520:522:1@2000"}, "scanner_dwell: 2000 s is outside its limits 0 to 1000 s"),
        ({"dwell": 0.0}, "dwell: 0.0 is not positive"),
        ({"dwell": float("nan")}, "dwell: nan is not positive"),
        ({"dark_lines": -1}, "dark_lines: -1, expected 0 to 1000"),
        ({"mode": "spiral"}, "mode: 'spiral' is none of line, point"),
        ({"blank": "x=0:2 y=0:0.2"}, "blank 'x=0:2 y=0:0.2': is not inside the field"),
        ({"sample": "gold"}, "sample: holds no 'gold', only NMC charged, NMC pristine, carbon"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_moves(simulator, endstation, changed, message):
    with pytest.raises(PlanError) as error:
        simulator.simulate_plan(stxm_stack(endstation, **({"energies": "520:522:1", "regions": SMALL} | changed)))
    assert message in str(error.value)
    assert moved(endstation) == []


def test_a_closed_front_end_is_refused_before_anything_moves(engine, endstation):
    endstation.front_end_shutter.value = "closed"
    with pytest.raises(PlanError, match="front_end_shutter: is 'closed', expected 'open'; there is no light"):
        engine(stxm_image(endstation, 520.0, SMALL))
    assert moved(endstation) == []


def moved(endstation):
    """Every value that any device was set to."""
    devices = [*vars(endstation).values(), *vars(endstation.scanner).values()]
    return [value for device in devices for value in getattr(device, "history", [])]


@pytest.mark.parametrize(
    ("plan", "arguments", "message"),
    [
        (stxm_image, (-520.0, SMALL), "energy: -520.0 is not positive"),
        (stxm_line_spectrum, ("520", SMALL), "line 'x=-1:1:0.5 y=0:0.2:0.1': 3 lines, expected one"),
        (stxm_focus, (520.0, TWO, "-5:5:1"), "5 lines, expected one"),
        (stxm_focus, (520.0, "x=0:1:0.1 y=0", "-5:5"), "zone_plate '-5:5': '-5:5' is not start:stop:step; expected"),
        (stxm_focus, (520.0, "x=0:1:0.1 y=0", "3"), "zone_plate '3': one position; expected start:stop:step in um"),
        (stxm_focus, (520.0, "x=0:1:0.1 y=0", "0:2000:50"), "zone_plate: 50 um is outside its limits -3000 to 0 um"),
    ],
)
def test_lines_and_focus_scans_that_are_none_are_refused(simulator, endstation, plan, arguments, message):
    with pytest.raises(PlanError) as error:
        simulator.simulate_plan(plan(endstation, *arguments))
    assert message in str(error.value)
    assert moved(endstation) == []


def at_trigger(scanner, number, then):
    """Let the scanner's `number`-th line take for ever, and do `then` from another thread meanwhile."""
    triggers = []

    def trigger():
        triggers.append((scanner.y.value, scanner.x_start.value))
        if len(triggers) != number:
            return NullStatus()
        threading.Thread(target=then).start()
        return Status()

    scanner.trigger = trigger
    return triggers


def disturb(endstation):
    """What a user may do in a pause."""
    for device, value in (
        (endstation.shutter, "closed"),
        (endstation.energy, 600.0),
        (endstation.zone_plate, -1.0),
        (endstation.scanner.x_start, 5.0),
        (endstation.scanner.x_stop, 6.0),
        (endstation.scanner.y, 7.0),
        (endstation.scanner.dwell, 1.0),
        (endstation.scanner.mode, "point"),
    ):
        device.set(value)


@pytest.mark.parametrize("number", [1, 2, 5, 6, 7, 11])  # dark, first, middle, end and beginning of an image
def test_resume_takes_the_interrupted_line_again_and_no_other(engine, documents, endstation, number):
    undisturbed = [(energy, -1.0, 1.0, y, 0.001, -2.5 * energy) for energy in (520, 521, 522) for y in (0, 0.1, 0.2)]
    shutter = []
    endstation.scanner.read = recording(endstation.scanner.read, lambda: shutter.append(endstation.shutter.value))
    triggers = at_trigger(endstation.scanner, number, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_stack(endstation, "520:522:1", SMALL, dark_lines=2))
    disturb(endstation)
    engine.resume()
    assert lines(documents) == undisturbed
    assert [event["seq_num"] for event in documents.events("primary")] == list(range(1, 10))
    assert len(documents.events("dark")) == 2
    assert len(triggers) == 2 + 9 + 1
    assert shutter == ["closed"] * 2 + ["open"] * 9
    assert endstation.scanner.mode.value == "line"
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success"]
    assert endstation.shutter.value == "closed"
    assert not endstation.scanner.staged


def recording(function, record):
    def recorded():
        record()
        return function()

    return recorded


@pytest.mark.parametrize("count", [1, 2, 4])
def test_after_a_deferred_pause_the_next_line_is_right_and_nothing_is_taken_again(engine, documents, endstation, count):
    triggers = []
    endstation.scanner.before_trigger = lambda: triggers.append(endstation.scanner.y.value)
    engine.subscribe(
        lambda name, doc: (
            threading.Thread(target=engine.request_pause, args=(True,)).start()
            if name == "event" and len(lines(documents)) == count and not engine.deferred_pause_requested
            else None
        )
    )
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_stack(endstation, "520:522:1", SMALL, dark_lines=0))
    disturb(endstation)
    engine.resume()
    assert [line[0] for line in lines(documents)] == [520.0] * 3 + [521.0] * 3 + [522.0] * 3
    assert {line[1:3] + line[4:5] for line in lines(documents)} == {(-1.0, 1.0, 0.001)}
    assert triggers == [0.0, 0.1, 0.2] * 3


def test_a_suspension_costs_one_line_and_the_next_ones_are_right(engine, documents, endstation):
    def lose_the_beam():
        lost.put(1)
        time.sleep(0.2)
        disturb(endstation)
        lost.put(0)

    lost = Signal(name="lost", value=0)
    engine.install_suspender(SuspendBoolHigh(lost))
    triggers = at_trigger(endstation.scanner, 4, lose_the_beam)
    engine(stxm_stack(endstation, "520, 521", SMALL, dark_lines=0))
    assert lines(documents) == [
        (energy, -1.0, 1.0, y, 0.001, -2.5 * energy) for energy in (520.0, 521.0) for y in (0.0, 0.1, 0.2)
    ]
    assert [event["seq_num"] for event in documents.events("primary")] == [1, 2, 3, 4, 5, 6]
    assert len(triggers) == 7


def test_two_pauses_in_one_line_cost_one_line_each(engine, documents, endstation):
    def trigger():
        triggers.append(endstation.energy.value)
        if len(triggers) not in (2, 3):
            return NullStatus()
        threading.Thread(target=lambda: engine.request_pause(defer=False)).start()
        return Status()

    triggers = []
    endstation.scanner.trigger = trigger
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_image(endstation, 520.0, SMALL, dark_lines=0))
    disturb(endstation)
    with pytest.raises(RunEngineInterrupted):
        engine.resume()
    disturb(endstation)
    engine.resume()
    assert triggers == [520.0] * 5
    assert lines(documents) == [(520.0, -1.0, 1.0, y, 0.001, -1300.0) for y in (0.0, 0.1, 0.2)]


def test_a_setting_that_cannot_be_sent_again_fails_the_run_with_its_reason(engine, documents, endstation):
    def fail(_value):
        status = Status()
        status.set_exception(RuntimeError("energy: no answer"))
        return status

    at_trigger(endstation.scanner, 2, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_image(endstation, 520.0, SMALL, dark_lines=0))
    endstation.energy.set = fail
    with pytest.raises(FailedStatus) as error:
        engine.resume()
    assert str(error.value.__cause__) == "energy: no answer"
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["fail"]
    assert endstation.shutter.value == "closed"


@pytest.mark.parametrize(("end", "exit_status"), [("abort", "abort"), ("stop", "success")])
def test_an_ended_pause_leaves_the_run_closed(engine, documents, endstation, end, exit_status):
    at_trigger(endstation.scanner, 5, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_stack(endstation, "520:522:1", SMALL, dark_lines=1))
    getattr(engine, end)()
    assert len(lines(documents)) == 3
    assert [stop["exit_status"] for stop in documents.of("stop")] == [exit_status]
    assert endstation.shutter.value == "closed"
    assert not endstation.scanner.staged


def test_a_series_measures_the_reference_first_and_links_its_runs(engine, documents, endstation):
    edges = "O K=520:521:1; Co L3=775, 780"
    samples = "NMC charged, carbon, NMC pristine"
    uids = engine(stack_series(endstation, samples, edges, SMALL, reference="carbon", dark_lines=1))
    starts = documents.of("start")
    assert [start["uid"] for start in starts] == list(uids)
    measured = [(start[MEASUREMENT]["sample"], start[MEASUREMENT]["edge"]) for start in starts]
    assert measured == [(s, e) for s in ("carbon", "NMC charged", "NMC pristine") for e in ("O K", "Co L3")]
    links = [start[SERIES] for start in starts]
    assert len({link["uid"] for link in links}) == 1
    assert [link["index"] for link in links] == list(range(6))
    assert {link["runs"] for link in links} == {6}
    assert [link["role"] for link in links] == ["reference"] * 2 + ["sample"] * 4
    assert {start["plan_name"] for start in starts} == {"stxm_stack"}
    assert endstation.sample.history == ["carbon"] * 2 + ["NMC charged"] * 2 + ["NMC pristine"] * 2


def test_a_series_without_a_reference_has_samples_only(engine, documents, endstation):
    uids = engine(stack_series(endstation, "carbon, NMC pristine", "520", SMALL))
    assert [start[SERIES]["role"] for start in documents.of("start")] == ["sample", "sample"]
    assert len(uids) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": "carbon, gold"}, "sample: holds no 'gold'"),
        ({"reference": "gold"}, "sample: holds no 'gold'"),
        ({"samples": "carbon,"}, "samples: 'carbon,' has an empty name; expected names separated by commas"),
        ({"samples": "carbon, carbon"}, "samples: 'carbon' is given twice"),
        ({"energies": "520; Co L3=780"}, "edge '520': has no name; expected name=energies"),
        ({"energies": "=520"}, "edge '=520': expected name=energies"),
        ({"energies": "O K=520; O K=780"}, "edge 'O K': is given twice"),
        ({"energies": "O K=520; Co L3=x"}, "energy region 'x': 'x' is not a number"),
        ({"energies": "O K=520; Co L3=1600"}, "energy: 1600 eV is outside its limits"),
    ],
)
def test_a_series_with_one_stack_that_cannot_be_measured_measures_none(simulator, endstation, changed, message):
    with pytest.raises(PlanError) as error:
        simulator.simulate_plan(
            stack_series(endstation, **({"samples": "carbon", "energies": "520", "regions": SMALL} | changed))
        )
    assert message in str(error.value)
    assert moved(endstation) == []


def test_edges_and_their_text_are_the_same_thing():
    text = "O K=520:526:0.5, 526:535:0.1@0.2; Co L3=770:800:0.2"
    edges = EdgeEnergies.parse(text)
    assert str(edges) == text
    assert [(name, len(energies)) for name, energies in edges.edges] == [("O K", 103), ("Co L3", 151)]
    assert str(EdgeEnergies.parse("520:526:0.5")) == "520:526:0.5"
