"""Spatial regions: which pixels are measured, what is refused and how it is said."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbacks.contract import StxmRegion
from plans.errors import PlanError
from plans.regions import Axis, SpatialRegion, StxmRegions, blank_in, single_line
from plans.regions.spatial import MAX_PIXELS

FIELD = "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03"


def test_a_field_of_3_6_um_in_steps_of_30_nm_has_120_by_120_pixels():
    regions = StxmRegions.parse(FIELD)
    assert regions.grid_regions == [StxmRegion(x=(-1.8, 1.77), y=(-1.8, 1.77), columns=120, rows=120)]
    assert (regions.columns, regions.pixels) == (120, 14_400)


def test_steps_land_on_the_decimals_typed():
    points = SpatialRegion.parse(FIELD).x.points
    assert points == [float(Decimal(-180 + 3 * index) / 100) for index in range(120)]


def test_centre_and_size_count_the_pixels_from_edge_to_edge():
    assert str(StxmRegions.parse("centre=0,0 size=3.6 step=0.03")) == "x=-1.785:1.785:0.03 y=-1.785:1.785:0.03"
    region = StxmRegions.parse("step=0.5,0.25 centre=-1,2 size=2,1").regions[0]
    assert region.x.points == [-1.75, -1.25, -0.75, -0.25]
    assert region.y.points == [1.625, 1.875, 2.125, 2.375]
    assert StxmRegions.parse("centre=0,2 size=2,0.5 step=0.5").regions[0].y.points == [2.0]


def test_a_single_y_is_one_line():
    assert single_line("y=0.2 x=-1:1:0.5").grid_regions == [StxmRegion(x=(-1, 1), y=(0.2, 0.2), columns=5, rows=1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spatial regions: none given; expected x and y in um as start:stop:step"),
        ("x=0:1:0.1", "spatial region 'x=0:1:0.1': expected x and y in um"),
        ("x=0:1:0.1 y=0:1:0.1;", "spatial region '': expected x and y in um"),
        ("x=0:1:0.1 x=0:1:0.1", "'x=0:1:0.1' is given twice"),
        ("x=0:1:0.1 0:1:0.1", "'0:1:0.1' is not name=value"),
        ("x=0:1:0.1 z=0:1:0.1", "spatial region 'x=0:1:0.1 z=0:1:0.1': expected x and y"),
        ("x=0:1 y=0:1:0.1", "spatial region 'x=0:1 y=0:1:0.1': x: '0:1' is not start:stop:step"),
        ("x=0:a:0.1 y=0:1:0.1", "x: 'a' is not a number; expected"),
        ("x=0:nan:0.1 y=0", "x: nan is not between -100000 and 100000"),
        ("x=0:1e9:0.1 y=0", "x: 1e9 is not between -100000 and 100000"),
        ("x=1:0:0.1 y=0", "x: stop 0 um is not above start 1 um"),
        ("x=0:1:0 y=0", "x: step 0 um, expected at least 0.0001 um"),
        ("x=0:1:-0.1 y=0", "x: step -0.1 um, expected at least 0.0001 um"),
        ("x=0:1:0.3 y=0", "x: stop is not a whole number of steps from start; the last step within it ends at 0.9 um"),
        ("x=0.5 y=0:1:0.1", "x: a line of one pixel, expected at least 2 pixels"),
        ("x=-10000:10000:0.0001 y=0", "x: 200000001 positions, expected at most 100000"),
        ("x=0:10:0.001 y=0:10:0.001", f"100020001 pixels, expected at most {MAX_PIXELS}"),
        (
            "x=0:1:0.1 y=0:1:0.1; x=0:1:0.05 y=0:1:0.1",
            "spatial region 'x=0:1:0.05 y=0:1:0.1': 21 pixels a line, expected 11 as in 'x=0:1:0.1 y=0:1:0.1'",
        ),
        (
            "x=0:1:0.1 y=0:1:0.1; x=2:3:0.1 y=0; x=0.0:1:0.10 y=0:1:0.1",
            "spatial region 'x=0:1:0.1 y=0:1:0.1': is given twice; expected each region once",
        ),
        (
            "x=-0.45:0.45:0.1 y=-0.45:0.45:0.1; centre=0,0 size=1 step=0.1",
            "spatial region 'x=-0.45:0.45:0.1 y=-0.45:0.45:0.1': is given twice",
        ),
        ("centre=0,0 size=1 step=0.3", "x: size 1 um is not a whole number of steps of 0.3 um"),
        ("centre=0 size=1 step=0.1", "centre: '0' is not x,y"),
        ("centre=0,0 size=1,2,3 step=0.1", "size: '1,2,3' is not x,y"),
        ("centre=0,0 size=1 step=0", "x: step 0 um, expected at least 0.0001 um"),
    ],
)
def test_what_cannot_be_read_is_named_on_one_line(text, message):
    with pytest.raises(PlanError) as error:
        StxmRegions.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@st.composite
def axes(draw, columns=None):
    step = Decimal(draw(st.integers(1, 5000))) / 10_000
    start = Decimal(draw(st.integers(-100_000, 100_000))) / 10_000
    count = columns or draw(st.integers(1, 60))
    return Axis(start, start + (count - 1) * step, step if count > 1 else Decimal(0))


@st.composite
def regions(draw):
    columns = draw(st.integers(2, 60))
    one = st.builds(SpatialRegion, axes(columns), axes())
    return StxmRegions(tuple(draw(st.lists(one, min_size=1, max_size=4, unique=True))))


@given(regions())
def test_text_and_regions_are_the_same_thing(written):
    read = StxmRegions.parse(str(written))
    assert read == written
    assert str(read) == str(written)
    assert read.grid_regions == written.grid_regions
    for region, grid in zip(read.regions, read.grid_regions, strict=True):
        assert (region.x.points[0], region.x.points[-1], len(region.x.points)) == (*grid.x, grid.columns)
        assert (region.y.points[0], region.y.points[-1], len(region.y.points)) == (*grid.y, grid.rows)


@pytest.mark.parametrize("line", [FIELD, "x=0:1:0.1 y=0; x=0:1:0.1 y=1"])
def test_more_than_a_line_is_no_line(line):
    with pytest.raises(PlanError, match=r"lines, expected one, as in x=-1\.8:1\.77:0\.03 y=0\.2"):
        single_line(line)


def test_a_blank_rectangle_may_reach_to_the_edges_of_the_outer_pixels():
    regions = StxmRegions.parse(FIELD)
    assert blank_in(regions, "x=1.2:1.785 y=-1.815:1.785") == (1.2, 1.785, -1.815, 1.785)
    assert blank_in(regions, "") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=1.2:1.79 y=0:1", "blank 'x=1.2:1.79 y=0:1': is not inside the field, 'x=-1.8:1.77:0.03 y=-1.8:1.77:0.03'"),
        ("x=0.001:0.002 y=0:1", "there is no centre of a pixel of"),
        ("x=1:1.1", "blank 'x=1:1.1': expected x=from:to y=from:to in um"),
        ("x=1:1.1:0.1 y=0:1", "expected x=from:to y=from:to in um"),
        ("x=1:0.5 y=0:1", "x to 0.5 um is not above x from 1 um"),
        ("x=1:b y=0:1", "'b' is not a number"),
    ],
)
def test_a_blank_rectangle_that_does_not_serve_is_refused(text, message):
    with pytest.raises(PlanError) as error:
        blank_in(StxmRegions.parse(FIELD), text)
    assert message in str(error.value)
