"""A short run of the kills; the long one is ``python tests/attacks/kills.py``."""

import random

import pytest
from kills import Count, kill_round, look, run_commands, victims, write_import

pytestmark = pytest.mark.long


def test_what_was_acknowledged_before_a_kill_is_in_log_databroker_and_frames_and_every_command_answers(tmp_path):
    write_import(tmp_path, seed=1)
    folder = tmp_path / "data"
    folder.mkdir()
    count = Count()
    with victims() as pair:
        files, kills = kill_round(pair, folder, ("rixs",), random.Random(1), least=40_000)
    look(folder, files, count)
    run_commands(folder, count, most=1)
    assert kills["rixs"] == 1
    assert count.documents > 15
    assert count.frames > 0
    assert count.commands == 5
    assert (count.lost, count.different, count.problems) == (0, 0, []), count
