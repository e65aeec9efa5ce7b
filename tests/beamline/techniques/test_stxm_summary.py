"""What is said of the incident flux of a stack: of how much of the field, and what that may be."""

import pytest

from beamline.techniques.stxm import lines


@pytest.mark.parametrize(
    ("pixels", "said", "hinted"),
    [
        (5810, "5810 sample-free pixels, 40% of the field", False),
        (14500, "14500 sample-free pixels, 99% of the field", True),
        (0, "as it was given", False),
    ],
)
def test_the_share_of_the_field_that_i0_is_of_is_said_and_what_it_may_be_where_it_is_nearly_all(pixels, said, hinted):
    summary = {"shape": [1, 121, 121], "i0": {"status": "ok", "pixels": pixels}}
    flux = dict(lines(summary))["I0"]
    assert flux.startswith(said)
    assert ("a uniform film" in flux) is hinted
