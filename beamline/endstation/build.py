"""Build the devices of an endstation from its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamline.endstation.config import Config, Device, resolve_class, unknown
from beamline.endstation.connect import connect, look_often_whether_to_end, require, use_channel_access
from beamline.errors import BeamlineError
from callbacks.contract import Key
from plans.endstation import DEVICE_NAMES, Endstation, Truth

NAMES = DEVICE_NAMES
REQUIRED_KEYS = {  # data keys without which nothing can be reduced, by device
    "energy": (Key.ENERGY, Key.ENERGY_SETPOINT),
    "scaler": (Key.I0, Key.TEY, Key.TFY, Key.DWELL),
    "ring": (Key.RING_CURRENT,),
    "ccd": (Key.CCD_IMAGE, Key.EXPOSURE_TIME),
    "ccd_dark": (Key.CCD_DARK_IMAGE, Key.EXPOSURE_TIME),
    "zone_plate": (Key.ZONE_PLATE,),
    "scanner": (Key.STXM_COUNTS, Key.STXM_DWELL, Key.STXM_X, Key.STXM_Y),
}


def build_endstation(config: Config, *, frames_dir: Path) -> Endstation:
    """Build and connect the devices of an endstation.

    Parameters
    ----------
    config : Config
        The endstation.
    frames_dir : Path
        Folder that cameras write their frames to; created if it does not exist.

    Raises
    ------
    BeamlineError
        When a device is missing or unknown, its class cannot be imported or does not take its options, or a process
        variable does not answer; names the file, the device and what was expected.
    """
    devices, truth = _build_all(config)
    look_often_whether_to_end()
    require(connect(devices, config.channel_access))
    if problems := lacking_keys(config, devices):
        raise BeamlineError(*problems)
    frames_dir.mkdir(parents=True, exist_ok=True)
    for camera in ("ccd", "ccd_dark"):
        devices[camera].write_path = str(frames_dir)
    return Endstation(**devices, truth=truth)


def build_devices(config: Config) -> dict[str, Any]:
    """Build the devices of an endstation, by name; those on EPICS begin to connect.

    Raises
    ------
    BeamlineError
        See `build_endstation`.
    """
    return _build_all(config)[0]


def device_problems(config: Config) -> list[str]:
    """Return one line for each device that is missing or unknown, or whose class cannot be imported."""
    problems = [
        f"{config.path}: devices: {unknown('device', name, NAMES)}" for name in config.devices if name not in NAMES
    ]
    problems += [f"{config.path}: devices: {name} is missing" for name in NAMES if name not in config.devices]
    classes = {f"devices.{name}": device.class_path for name, device in config.devices.items()}
    if shared := config.endstation.shared:
        classes["endstation.shared"] = shared.class_path
    for where, class_path in classes.items():
        try:
            resolve_class(class_path)
        except BeamlineError as error:
            problems.append(f"{config.path}: {where}: {error}")
    return problems


def lacking_keys(config: Config, devices: Mapping[str, Any]) -> list[str]:
    """Return one line for each device, all being connected, that does not read what the reduction needs of it."""
    problems = []
    for name, keys in REQUIRED_KEYS.items():
        described = devices[name].describe()
        if lacking := [str(key) for key in keys if key not in described]:
            problems.append(
                f"{config.path}: devices.{name}: {config.devices[name].class_path} does not read {', '.join(lacking)};"
                f" it reads {', '.join(described)}"
            )
    return problems


def _build_all(config: Config) -> tuple[dict[str, Any], Truth | None]:
    """Build the devices, and give the truth that the object they share offers, if it does."""
    use_channel_access(config.channel_access)
    if problems := device_problems(config):
        raise BeamlineError(*problems)
    shared = {}
    if table := config.endstation.shared:
        shared["shared"] = _build(config, "endstation.shared", table.class_path, (), given={}, own=table.options)
    devices = {name: _build_device(config, name, device, shared) for name, device in config.devices.items()}
    if config.channel_access is not None:
        for device in devices.values():
            device.clock_tolerance = config.channel_access.clock_tolerance
    return devices, getattr(shared.get("shared"), "truth", None)


def _build_device(config: Config, name: str, device: Device, shared: dict[str, Any]) -> Any:
    where, given = f"devices.{name}", {"name": name, **shared}
    built = _build(config, where, device.class_path, (device.prefix,), given=given, own=device.options)
    if lacking := [method for method in ("read", "describe") if not callable(getattr(built, method, None))]:
        raise BeamlineError(f"{config.path}: {where}: {device.class_path} is no device: it has no {lacking[0]!r}")
    return built


def _build(
    config: Config,
    where: str,
    class_path: str,
    arguments: tuple[str, ...],
    *,
    given: dict[str, Any],
    own: dict[str, Any],
) -> Any:
    """Call a class with `arguments`, with what all are given by name, and with its own options."""
    found = resolve_class(class_path)
    if twice := own.keys() & given.keys():
        raise BeamlineError(f"{config.path}: {where}.options: {min(twice)!r} is given to every device, not an option")
    try:
        return found(*arguments, **given, **own)
    except Exception as error:  # of options that the class does not have, or that are out of range, or of the class
        known = {name for base in found.__mro__ for name in _parameters(base)}
        for name in own:
            if isinstance(error, TypeError) and name not in known:
                raise BeamlineError(f"{config.path}: {where}.options: {unknown('option', name, known)}") from error
        raise BeamlineError(f"{config.path}: {where}: {str(error) or type(error).__name__}") from error


def _parameters(found: type) -> list[str]:
    """List the parameters of a class's own `__init__`."""
    made = vars(found).get("__init__")
    return list(inspect.signature(made).parameters) if inspect.isfunction(made) else []
