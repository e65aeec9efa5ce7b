"""Why a reduction lacks what it lacks, for the files of every exporter."""

from __future__ import annotations

from collections import Counter

import numpy as np

from beamline.formats.text import one_line
from beamline.storage import Run
from callbacks.contract import NOT_TAKEN, Account, Marks


def reasons_of(derived: Run) -> list[str]:
    """Say what a reduction did not find and why, and which events are not to be trusted; a line for each."""
    found = []
    for key, value in derived.result.items():
        if key.endswith("_status"):  # of the whole, or of each image
            if np.asarray(value).dtype.kind in "iu":  # of each pixel, as its place among reasons
                continue
            statuses = [str(one) for one in np.ravel(value)]
            share = f"{{}} of {len(statuses)}: " if np.ndim(value) else ""
            for status, count in Counter(statuses).items():
                if status not in ("", "ok", NOT_TAKEN):
                    found.append(f"{key.removesuffix('_status')}: {share.format(count)}{one_line(status)}")
    marked, account = derived.read(Marks), derived.read(Account)
    for numbers, reasons in ((marked.marked_frames, marked.marks), (account.problem_frames, account.problems)):
        found += [f"event {number}: {one_line(reason)}" for number, reason in zip(numbers, reasons, strict=True)]
    return found
