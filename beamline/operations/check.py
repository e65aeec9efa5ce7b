"""Check a configuration, and whether everything that it names answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from beamline.acquire.references import find_calibration, find_reference
from beamline.endstation.build import build_devices, channels_of, device_problems, lacking_keys, techniques
from beamline.endstation.config import Config, load_config
from beamline.endstation.connect import Answer, connect, disconnect, use_channel_access
from beamline.errors import BeamlineError
from beamline.storage.catalogue.condition import check_answer
from beamline.techniques.settings import processing_problems


def config_problems(config: Config) -> list[str]:
    """Give one line for each thing wrong with a configuration, without building anything."""
    return device_problems(config) + processing_problems(config)


def _reference_problems(config: Config) -> list[str]:
    """Give one line for each reference or calibration that cannot be read; runs lie in its own data folder."""
    problems = []
    for name, where in config.references.items():
        try:
            find_reference(where, config.path.parent, config.storage.data_dir)
        except BeamlineError as error:
            problems += [f"{config.path}: references.{name}: {problem}" for problem in error.problems]
    if config.calibration is not None:
        try:
            find_calibration(config.calibration.rixs, config.storage.data_dir)
        except BeamlineError as error:
            problems += [f"{config.path}: calibration.rixs: {problem}" for problem in error.problems]
    return problems


def _channel_problems(config: Config, devices: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the channels of the counters."""
    try:
        channels_of(config, devices)
    except BeamlineError as error:
        return list(error.problems)
    return []


def _catalogue_problems(config: Config) -> list[str]:
    """Give a line where the catalogue is elsewhere than in the data folder, and cannot be reached."""
    if config.storage.catalogue is None:
        return []
    try:
        check_answer(config.storage.catalogue)
    except BeamlineError as error:
        return [f"{config.path}: storage.catalogue: {problem}" for problem in error.problems]
    return []


def check(config: Path | None) -> dict[str, Any]:
    """Check a configuration, and connect to its devices.

    Returns
    -------
    dict
        For JSON: `config`, `ok`, `problems` (one line each), `devices` (how each answered), `techniques` (which are
        possible, and what the others lack), `data_dir`.
    """
    loaded = load_config(config)
    use_channel_access(loaded.channel_access)
    problems, answers = config_problems(loaded) + _reference_problems(loaded), list[Answer]()
    problems += _catalogue_problems(loaded)
    if not problems:
        devices = build_devices(loaded)
        answers = connect(devices, loaded.channel_access, read=True)
        if not any(answer.problem for answer in answers):
            problems = lacking_keys(loaded, devices) or _channel_problems(loaded, devices)
        if loaded.channel_access is not None:
            disconnect(devices.values())
        problems += [f"{answer.device}: {answer.problem}" for answer in answers if answer.problem]
    return {
        "config": str(loaded.path),
        "ok": not problems,
        "problems": problems,
        "data_dir": str(loaded.storage.data_dir),
        "devices": [asdict(answer) for answer in answers],
        "techniques": techniques(loaded),
    }
