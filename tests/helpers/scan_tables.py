"""What the programs that scan constants share: another value for a while, and a table of what comes of each."""

import contextlib
from pathlib import Path

MEASURED_DATA = Path(__file__).parents[3] / "shared" / "data"


@contextlib.contextmanager
def constant(name, value, *, modules, settings=None):
    """Give a constant of a module, or a field of a settings model, another value for a while; give the settings."""
    if settings is not None and name in settings.model_fields:
        yield settings(**{name: value})
        return
    module = next(each for each in modules if hasattr(each, name))
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield None if settings is None else settings()
    finally:
        setattr(module, name, before)


def print_tables(names, scans, header, row):
    """Print a table in Markdown for each constant, of what `row` gives for its name and each value."""
    for name in names or scans:
        print(f"\n{name}\n")
        print(f"| {' | '.join(header)} |")
        print("|---" * len(header) + "|")
        for value in scans[name]:
            print(f"| {value} | {' | '.join(row(name, value))} |", flush=True)
