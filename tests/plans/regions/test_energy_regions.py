"""Energy regions: what is visited, what is refused and how it is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.errors import PlanError
from plans.regions.energy import MAX_POINTS, EnergyRegions


def test_an_end_that_two_regions_share_is_visited_once():
    regions = EnergyRegions.parse("520:521:0.5, 521:521.3:0.1, 530.8")
    assert regions.points.tolist() == [520.0, 520.5, 521.0, 521.1, 521.2, 521.3, 530.8]
    assert len(regions) == 7


def test_the_three_regions_of_an_oxygen_k_edge_give_153_points():
    regions = EnergyRegions.parse("520:526:0.5, 526:535:0.1, 535:560:0.5")
    assert len(regions.points) == 12 + 1 + 90 + 50
    assert regions.points[[0, 12, 13, -1]].tolist() == [520.0, 526.0, 526.1, 560.0]


def test_a_shared_end_has_the_dwell_of_the_region_it_ends():
    regions = EnergyRegions.parse("520:521:0.5@0.2, 521:522:0.5, 523@2")
    np.testing.assert_array_equal(regions.dwell, [0.2, 0.2, 0.2, np.nan, np.nan, 2.0])


def test_ten_thousand_small_steps_drift_by_nothing():
    points = EnergyRegions.parse("500:600:0.01").points
    assert points.tolist() == [float(f"{500 + index // 100}.{index % 100:02d}") for index in range(10_001)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "energy regions: none given; expected start:stop:step"),
        ("520:526:0.5,", "energy region '': '' is not a number; expected start:stop:step"),
        ("520:526", "energy region '520:526': expected start:stop:step or one energy"),
        ("520:x:0.5", "energy region '520:x:0.5': 'x' is not a number"),
        ("520:526:0", "energy region '520:526:0': 0 is not between"),
        ("520:526:-0.5", "energy region '520:526:-0.5': -0.5 is not between"),
        ("nan", "energy region 'nan': nan is not between"),
        ("520:inf:1", "energy region '520:inf:1': inf is not between"),
        ("520:1e99:1", "energy region '520:1e99:1': 1e99 is not between 0.000001 and 1000000"),
        ("520:521:1e-40", "energy region '520:521:1e-40': 1e-40 is not between"),
        ("520@", "energy region '520@': '' is not a number"),
        ("520@0", "energy region '520@0': 0 is not between"),
        ("526:520:0.5", "energy region '526:520:0.5': stop 520 eV is not above start 526 eV"),
        ("520:526:0.7", "stop is not a whole number of steps from start; the last step within it ends at 525.6 eV"),
        ("530, 530, 530", "energy region '530': 530 eV is given twice; expected each energy once (rixs_map"),
        ("520:521:1, 521@2", "energy region '521@2': 521 eV is given twice; expected each energy once"),
        ("521, 521:522:1", "energy region '521:522:1': 521 eV is given twice; expected each energy once"),
        ("520:530:1, 525:535:1", "energy region '525:535:1': starts below 530 eV, where '520:530:1' ends"),
        ("520:526:0.00001", "energy region '520:526:0.00001': 600001 points, expected at most 100000"),
    ],
)
def test_what_cannot_be_read_is_named_on_one_line(text, message):
    with pytest.raises(PlanError) as error:
        EnergyRegions.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_several_regions_hold_no_more_points_than_one_may():
    half = MAX_POINTS // 2
    with pytest.raises(PlanError, match="100002 points"):
        EnergyRegions.parse(f"500:{500 + half // 100}:0.01, {501 + half // 100}:{501 + 2 * half // 100}:0.01")


@st.composite
def region_texts(draw):
    """Ascending regions with steps of a hundredth of an eV upwards, gaps, single energies and dwells."""
    edge, texts, alone = draw(st.integers(20_000, 60_000)), [], True
    for _ in range(draw(st.integers(1, 5))):
        before, alone = alone, not (count := draw(st.integers(0, 30)))
        edge += draw(st.integers(1 if alone or before else 0, 500))
        step = draw(st.integers(1, 100))
        dwell = draw(st.sampled_from(["", "@0.2", "@10"]))
        stop = edge + step * count
        span = f"{edge / 100:.2f}:{stop / 100:.2f}:{step / 100:.2f}" if count else f"{edge / 100:.2f}"
        texts.append(span + dwell)
        edge = stop
    return ", ".join(texts)


@given(region_texts())
def test_text_survives_the_round_trip(text):
    regions = EnergyRegions.parse(text)
    again = EnergyRegions.parse(str(regions))
    assert again == regions
    assert str(again) == str(regions)


@given(region_texts())
def test_points_ascend_and_are_the_floats_of_what_one_would_type(text):
    regions = EnergyRegions.parse(text)
    assert np.all(np.diff(regions.points) > 0)
    assert regions.points.tolist() == [float(f"{point:.2f}") for point in regions.points]
    assert regions.points.shape == regions.dwell.shape == (len(regions),)
    assert {float(region.start) for region in regions.regions} <= set(regions.points)
    assert {float(region.stop) for region in regions.regions} <= set(regions.points)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_on_one_line(text):
    try:
        EnergyRegions.parse(text)
    except PlanError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - most texts are refused, some are not
