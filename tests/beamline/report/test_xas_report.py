"""The report of an absorption spectrum that could not be normalised."""

from contextlib import closing

import pytest
from here import reducing_session

from beamline.acquire.session import measure
from beamline.endstation.config import load_config
from beamline.operations.report import write_report
from beamline.storage import Runs
from plans import xas

pytestmark = pytest.mark.long


def test_a_spectrum_that_is_too_short_to_be_normalised_is_shown_over_i0_with_the_reasons(tmp_path):
    with closing(reducing_session(load_config(), tmp_path)) as session:
        uid = measure(session, xas(session.endstation, "528:532:0.5", 0.2))
        session.drain()
    page = write_report(Runs(tmp_path), uid, tmp_path / "report.html").read_text()
    assert "Counts over I0" in page
    assert "Not normalised: TEY: " in page
    assert "Absorption spectra" not in page
