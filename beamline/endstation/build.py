"""Build the devices of an endstation from its configuration."""

from __future__ import annotations

import difflib
import inspect
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bluesky.protocols import Subscribable

from beamline.endstation.config import Config, resolve_class, unknown
from beamline.endstation.config import Device as DeviceTable
from beamline.endstation.connect import connect, look_often_whether_to_end, require, use_channel_access
from beamline.errors import BeamlineError
from callbacks.contract import UNITS, Channel, Key
from callbacks.xas import CHANNELS, XasSettings
from plans.endstation import COUNTERS, ROLES, TECHNIQUES, Endstation, Needs, Truth, kept

REQUIRED_KEYS = {  # data keys without which nothing can be reduced, by role
    "energy": (Key.ENERGY, Key.ENERGY_SETPOINT),
    "scaler": (Key.DWELL,),
    "polarisation": (Key.POLARISATION,),
    "energy_sweep": (Key.SWEEP_BIN_TIMES, Key.SWEEP_ENERGIES, Key.SWEEP_ENERGY_TIMES),
    "ring": (Key.RING_CURRENT,),
    "ccd": (Key.CCD_IMAGE, Key.EXPOSURE_TIME),
    "ccd_dark": (Key.CCD_DARK_IMAGE, Key.EXPOSURE_TIME),
    "zone_plate": (Key.ZONE_PLATE,),
    "scanner": (Key.STXM_COUNTS, Key.STXM_DWELL, Key.STXM_X, Key.STXM_Y),
}


GIVEN = {"polarisation": ("energy",)}  # roles whose devices are given to that of a role, where it takes them
HOW_READ = {"baseline", "points", "monitor"}  # keys of a device's table


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
        When a role is unknown or given twice, a class cannot be imported or does not take its options, or a process
        variable does not answer; names the file, the device and what was expected.
    """
    devices, truth = _build_all(config)
    look_often_whether_to_end()
    require(connect(devices, config.channel_access))
    if problems := lacking_keys(config, devices):
        raise BeamlineError(*problems)
    channels = channels_of(config, devices)
    frames_dir.mkdir(parents=True, exist_ok=True)
    endstation = Endstation(
        {name: device for name, device in devices.items() if name in ROLES},
        truth=truth,
        added={name: device for name, device in devices.items() if name not in ROLES},
        units={name: _unit(device, _described(config, name, device)) for name, device in devices.items()},
        at_points=tuple(devices[name] for name, table in tables_by_name(config).items() if table.points),
        monitored=tuple(
            signal
            for name, table in tables_by_name(config).items()
            if table.monitor
            for signal in _signals_of(config, name, devices[name])
        ),
        channels=channels,
    )
    for camera in endstation.those("ccd", "ccd_dark"):
        camera.write_path = str(frames_dir)
    return endstation


def build_devices(config: Config) -> dict[str, Any]:
    """Build the devices of an endstation, by the name they have in documents; those on EPICS begin to connect.

    Raises
    ------
    BeamlineError
        See `build_endstation`.
    """
    return _build_all(config)[0]


def device_problems(config: Config) -> list[str]:
    """Return one line for each role that is unknown or given twice, and each class that cannot be imported."""
    problems = [
        f"{config.path}: devices: {name!r}: expected a name without '.' and '/', as documents have it"
        for name in config.devices
        if not name or set(name) & set("./")
    ]
    for name, table in config.devices.items():
        if (table.role or name) in ROLES or (not table.role and table.model_fields_set & HOW_READ):
            continue
        problem = unknown("role", table.role or name, ROLES)
        hint = "" if table.role else "; a device without a role says how it is read: baseline, points or monitor"
        problems.append(f"{config.path}: devices.{name}: {problem}{hint}")
    names = Counter(table.role or name for name, table in config.devices.items())
    problems += [f"{config.path}: devices: {name}: two devices have this role" for name in names if names[name] > 1]
    if config.suspenders is not None:
        needed = ["ring", *(["front_end_shutter"] if config.suspenders.front_end_shutter else [])]
        problems += [f"{config.path}: suspenders: there is no device {name}" for name in needed if not names[name]]
    classes = {f"devices.{name}": device.class_path for name, device in config.devices.items()}
    if shared := config.endstation.shared:
        classes["endstation.shared"] = shared.class_path
    for where, class_path in classes.items():
        try:
            resolve_class(class_path)
        except BeamlineError as error:
            problems.append(f"{config.path}: {where}: {error}")
    return problems


def tables_by_name(config: Config) -> dict[str, DeviceTable]:
    """Give the tables of the devices by the name that each has in documents: its role, where it has one."""
    return {table.role or name: table for name, table in config.devices.items()}


def techniques(config: Config) -> dict[str, dict[str, Any]]:
    """Tell which techniques the roles of a configuration suffice for.

    Returns
    -------
    dict
        By technique, for JSON: ``possible``; ``lacks`` and ``without``, the roles that it needs, and that it could use,
        for which there is no device; ``meant``, by role that it lacks the table whose name is nearly that, if any.
    """
    names = tables_by_name(config)
    added = [name for name in names if name not in ROLES]

    def of(needs: Needs) -> dict[str, Any]:
        lacks = [role for role in needs.needed if role not in names]
        near = {role: difflib.get_close_matches(role, added, n=1, cutoff=0.75) for role in lacks}
        return {
            "possible": not lacks,
            "lacks": lacks,
            "without": [role for role in needs.used if role not in names],
            "meant": {role: found[0] for role, found in near.items() if found},
        }

    return {needs.technique: of(needs) for needs in TECHNIQUES}


def lacking_keys(config: Config, devices: Mapping[str, Any]) -> list[str]:
    """Return one line for each device, all being connected, that does not read what the reduction needs of it.

    Also where two devices read the same, which no event can hold.
    """
    problems = []
    tables = tables_by_name(config)
    read_by: dict[str, str] = {}
    for name, device in sorted(devices.items(), key=lambda item: item[0] not in ROLES):
        described = _described(config, name, device)
        for key in described:
            other = read_by.setdefault(key, name)
            if other != name and {other, name} != {"ccd", "ccd_dark"}:
                problems.append(f"{config.path}: devices.{name}: reads {key}, as {other} does: give it another name")
        keys = REQUIRED_KEYS.get(name, ())
        if lacking := [str(key) for key in keys if key not in described]:
            problems.append(
                f"{config.path}: devices.{name}: {tables[name].class_path} does not read {', '.join(lacking)};"
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
    tables = tables_by_name(config)
    devices: dict[str, Any] = dict.fromkeys(tables)
    for name in sorted(tables, key=lambda name: name in GIVEN):  # first those that are given to others
        devices[name] = _build_device(config, name, tables[name], shared, devices)
    if config.channel_access is not None:
        for device in devices.values():
            if hasattr(device, "clock_tolerance"):  # of our own classes
                device.clock_tolerance = config.channel_access.clock_tolerance
    return devices, getattr(shared.get("shared"), "truth", None)


def _build_device(
    config: Config, name: str, device: DeviceTable, shared: dict[str, Any], others: Mapping[str, Any]
) -> Any:
    where = f"devices.{name}"
    given: dict[str, Any] = {"name": name}
    for role in GIVEN.get(name, ()):
        if takes(resolve_class(device.class_path), role):
            if role not in others:
                raise BeamlineError(f"{config.path}: {where}: there is no device {role}, which this one moves with")
            given[role] = others[role]
    if takes(resolve_class(device.class_path), "shared"):
        given |= shared
    prefix: tuple[str, ...] = ()
    if takes(resolve_class(device.class_path), "prefix"):
        given["prefix"] = device.prefix
    elif device.prefix:
        prefix = (device.prefix,)
    built = _build(config, where, device.class_path, prefix, given=given, own=device.options)
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


def channels_of(config: Config, devices: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Give what the counters measure, in their order, as the tables `channels` say.

    Raises
    ------
    BeamlineError
        Where a table or a setting of the reduction names a channel that nothing measures, or one that is taken.
    """
    known = {channel.name: channel for channel in CHANNELS}
    found: dict[str, Channel] = {}
    for role in COUNTERS:
        described = _described(config, role, devices[role]) if role in devices else {}
        for name in getattr(devices.get(role), "channels", [name for name in known if name in described]):
            table = config.channels.get(name)
            own = table.model_dump() if table else known[name].model_dump() if name in known else {}
            own["title"] = own.get("title") or (known[name].title if name in known else "")
            found[name] = Channel(**own | {"name": name, "is_rate": described[name].get("units") != UNITS[Key.I0]})
        if Key.FLUORESCENCE in described:
            found[Key.FLUORESCENCE] = Channel(name=Key.FLUORESCENCE, title="fluorescence", form="spectrum")
    for name, table in config.channels.items():
        for each in filter(None, (name, table.over)):
            if each not in found:
                raise BeamlineError(f"{config.path}: channels.{name}: {unknown('channel', each, found)}")
        if table.over == name:
            raise BeamlineError(f"{config.path}: channels.{name}: over: it would be divided by itself")
    settings = XasSettings.model_validate(config.processing.get("xas", {}))
    for name in settings.windows:
        if name in found:
            raise BeamlineError(
                f"{config.path}: processing.xas.windows.{name}: a counter has this name, expected a new one"
            )
    against = settings.compared_with
    if found and against and (against not in found or against == settings.i0):
        others = ", ".join(name for name in found if name != settings.i0)
        raise BeamlineError(f"{config.path}: processing.xas.compared_with: {against!r}, expected one of {others}")
    i0 = settings.i0
    if found and i0 not in found:
        raise BeamlineError(
            f"{config.path}: devices: no counter measures {i0}, which is divided by: give a channel this name, or say"
            f" in processing.xas.i0 which of {', '.join(found)} it is"
        )
    return tuple(found.values())


def _described(config: Config, name: str, device: Any) -> dict[str, Any]:
    """Give what a device says of what it reads; `BeamlineError` where it cannot."""
    try:
        described: dict[str, Any] = kept(device.describe())
    except Exception as error:  # of whatever others have written
        text = " ".join(str(error).split()) or type(error).__name__
        raise BeamlineError(f"{config.path}: devices.{name}: cannot be described: {text}") from error
    return described


def _unit(device: Any, described: Mapping[str, Any]) -> str:
    """Give the unit of a device: of what its hints name first, else of the first that it reads."""
    hinted = (getattr(device, "hints", None) or {}).get("fields", [])
    key = next((key for key in hinted if key in described), next(iter(described), None))
    return str(described[key].get("units") or "") if key is not None else ""


def _signals_of(config: Config, name: str, device: Any) -> list[Any]:
    """List what can be monitored of a device: itself where it is a signal, else those of its signals that it reads."""
    from ophyd import Device  # noqa: PLC0415 - EPICS must not be in use before it is configured

    if isinstance(device, Device):
        within = [getattr(device, each) for each in device.read_attrs]
        found = [each for each in within if not isinstance(each, Device)]
    elif callable(children := getattr(device, "children", None)):
        read = kept(device.describe())
        found = [each for _, each in children() if isinstance(each, Subscribable) and each.name in read]
    else:
        found = [device] if isinstance(device, Subscribable) else []
    if not found:
        raise BeamlineError(f"{config.path}: devices.{name}: nothing of it can be monitored")
    return found


def takes(found: type, name: str) -> bool:
    """Tell whether a class takes a parameter of this name, itself or by handing on what it is given."""
    for base in found.__mro__:
        made = vars(base).get("__init__")
        if not inspect.isfunction(made):
            continue
        parameters = inspect.signature(made).parameters
        if name in parameters:
            return True
        if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
            return False
    return False


def _parameters(found: type) -> list[str]:
    """List the parameters of a class's own `__init__`."""
    made = vars(found).get("__init__")
    return list(inspect.signature(made).parameters) if inspect.isfunction(made) else []
