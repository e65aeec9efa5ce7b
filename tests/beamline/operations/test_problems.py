"""What a run leaves out is said: points that are missing, gaps in time, what an import or a log lacks."""

import numpy as np
import pytest

from beamline.operations.problems import problems_of
from beamline.operations.runs import summarise_run
from beamline.storage.results import Run, Table
from callbacks.contract import Key, Stream

START = 1_700_000_000.0


def table(times, counting=0.0, key=Key.DWELL):
    """A stream with events at these times, s from the start, each counted for some time."""
    columns = {key: np.broadcast_to(np.asarray(counting, float), (len(times), *np.shape(counting)[1:]))}
    return Table(columns, {}, START + np.asarray(times, float), {}, {})


def run(primary, *, planned=None, closed=True, **streams):
    start = {"uid": "run", "time": START, "measurement": {"technique": "xas", "points": planned or len(primary)}}
    stop = {"exit_status": "success", "time": START} if closed else None
    return Run(start, stop, {Stream.PRIMARY: primary, **streams})


def gaps(*arguments, held=(), **options):
    return problems_of(run(*arguments, **options), [{"time": START + time, "reason": ""} for time in held])


def test_a_gap_between_the_runs_of_one_measurement_is_none():
    one = run(table([0, 1, 2, 600, 601, 1200, 1201]))
    assert len(problems_of(one, [])) == 2
    one.start["continues"] = {"uids": ["a", "b"], "points": 5, "ends": [3, 5]}
    assert problems_of(one, []) == []
    one.start["continues"] = {"uids": ["a"], "points": 3, "ends": [3]}
    assert problems_of(one, []) == ["nothing was measured for 10 min after point 5"]


def test_points_that_are_missing_are_counted():
    assert gaps(table([0, 1, 2]), planned=5) == ["3 of 5 points measured"]
    assert gaps(table([0, 1, 2]), planned=5, closed=False) == ["3 of 5 points measured so far"]
    assert gaps(table([0, 1, 2]), planned=3) == []
    assert gaps(table([0, 1, 2, 3]), planned=3) == []  # frames that were taken again


def test_a_scan_that_stood_still_for_42_minutes_is_named():
    times = np.arange(48) * 21.0
    times[30:] += 42 * 60.0
    assert gaps(table(times, 20.0)) == ["nothing was measured for 42 min after point 30"]


def test_a_gap_that_is_an_interruption_is_not_named_again():
    times = [0.0, 1.0, 2.0, 1000.0, 1001.0]
    assert gaps(table(times, 1.0), held=[5.0]) == []
    assert gaps(table(times, 1.0), held=[1000.5]) == ["nothing was measured for 17 min after point 3"]


@pytest.mark.parametrize(
    "measured",
    [
        pytest.param(table(np.cumsum([1.0] * 100 + [300.0] * 5), [1.0] * 100 + [300.0] * 5), id="longer exposures"),
        pytest.param(table(np.cumsum([0.1, *[0.2] * 60, 45.0, *[0.2] * 60])), id="a long move between images"),
        pytest.param(table(np.repeat(np.arange(6) * 700.0, 100)), id="lines with the time of their image"),
        pytest.param(table([5.0, 5.0, 5.0]), id="all at one time"),
        pytest.param(table([7.0]), id="one point"),
        pytest.param(table([0, 1, 2, -3600, -3599]), id="a clock that was set back"),
        pytest.param(table(np.arange(9) * 0.3, 300.0, Key.EXPOSURE_TIME), id="a simulation that is sped up"),
    ],
)
def test_what_a_plan_takes_time_for_is_no_gap(measured):
    assert gaps(measured) == []


def test_dark_frames_between_two_points_fill_the_gap():
    frames = table([0.0, 310.0, 620.0, 2480.0, 2790.0], 300.0, Key.EXPOSURE_TIME)
    assert gaps(frames) == ["nothing was measured for 31 min after point 3"]
    assert gaps(frames, dark=table([930.0, 1240.0, 1550.0, 1860.0, 2170.0], 300.0, Key.EXPOSURE_TIME)) == []


def test_a_gap_in_a_simulation_that_is_sped_up_is_named():
    times = np.arange(9) * 0.3
    times[4:] += 180.0
    assert gaps(table(times, 300.0, Key.EXPOSURE_TIME)) == ["nothing was measured for 3 min after point 4"]


def test_more_than_ten_gaps_are_counted():
    times = np.cumsum([1.0, 1.0, 500.0] * 12)
    found = gaps(table(times))
    assert len(found) == 11
    assert found[-1] == "and 2 more gaps in time"


def test_a_summary_has_what_the_import_the_log_and_the_plan_left_out():
    one = run(table([0, 1]), planned=4)
    one.start["import_problems"] = ["image 3 is missing"]
    one.problems.append("the log is damaged at byte 7")
    assert summarise_run(one, None)["problems"] == [
        "image 3 is missing",
        "the log is damaged at byte 7",
        "2 of 4 points measured",
    ]
