"""The configuration of an endstation: a strict model of its TOML file, with errors that suggest what was meant."""

from __future__ import annotations

import difflib
import importlib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from platformdirs import user_data_path
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from beamline.endstation.catalogue_address import EXPECTED, parse_address
from beamline.errors import BeamlineError
from beamline.text import shortened
from callbacks.contract import Geometry
from callbacks.wording import number_of

SHOWN = 80  # characters of a value in an error
SIMULATED = Path(__file__).with_name("simulated.toml")
LARGEST_FILE = 1_000_000  # bytes; the shipped ones have less than 10,000
EPICS = Path(__file__).with_name("epics.toml")  # the same endstation over EPICS, as served by `beamline ioc`


ConfigT = TypeVar("ConfigT", bound=BaseModel)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Shared(_Table):
    """Table `endstation.shared`: an object that is passed to every device."""

    class_path: str = Field(alias="class")  # as "package.module.Class"
    options: dict[str, Any] = {}  # keyword arguments


class EndstationTable(_Table):
    """Table `endstation`."""

    name: str = Field(min_length=1)
    geometry: Geometry | None = None  # of sample, light and detectors, where it is always the same
    shared: Shared | None = None


class Device(_Table):
    """Table `devices.NAME`: a device is built as ``class(prefix, name=NAME, **options)``.

    A device with a role has the name of its role in documents: the name of its table, where it is one of
    `plans.endstation.ROLES`, or what `role` says. One without is read, monitored or moved as it is asked to be.
    """

    class_path: str = Field(alias="class")  # as "package.module.Class"
    prefix: str = ""  # of its EPICS process variables
    options: dict[str, Any] = {}  # keyword arguments
    role: str = ""  # what it is to plans
    baseline: bool = True  # whether it is read before and after every run
    points: bool = False  # whether it is read at each point as well
    monitor: bool = False  # whether what changes of it during a run is kept, in a stream of its own


class ChannelTable(_Table):
    """Table `channels.NAME`: what a counter measures under this name."""

    title: str = ""  # in words; those of i0, tey and tfy are known
    form: Literal["monitor", "yield", "transmission"] = "yield"  # light that comes in, or that a sample gives or lets
    over: str = ""  # the channel that it is divided by, as one behind another sample; I0 where not given


class ChannelAccess(_Table):
    """Table `channel_access`: where to search for process variables; without it, the environment's EPICS_CA_* apply."""

    address_list: str = "127.0.0.1"  # servers and broadcast addresses, separated by blanks
    auto_address_list: bool = False  # whether to search all networks of this computer as well
    port: PositiveInt = Field(5064, le=65535)  # of the servers
    max_array_bytes: PositiveInt = Field(16_777_216, le=2**31 - 1)
    timeout: PositiveFloat = Field(
        5.0, le=3600.0
    )  # s; a process variable that has not answered by then counts as missing
    clock_tolerance: PositiveFloat = 3600.0  # s that the clock of an IOC may be off; beyond, its times are not used

    def environment(self) -> dict[str, str]:
        """Return the environment variables that EPICS reads when it is first used."""
        return {
            "EPICS_CA_ADDR_LIST": self.address_list,
            "EPICS_CA_AUTO_ADDR_LIST": "YES" if self.auto_address_list else "NO",
            "EPICS_CA_SERVER_PORT": str(self.port),
            "EPICS_CA_MAX_ARRAY_BYTES": str(self.max_array_bytes),
        }


class SimulatedIoc(_Table):
    """Table `ioc`: the IOC that simulates the hardware, run by `beamline ioc`."""

    class_path: str = Field(alias="class")  # as "package.module.Class"
    prefix: str  # of its process variables
    options: dict[str, Any] = {}  # keyword arguments


class Storage(_Table):
    """Table `storage`: where runs are stored, and how many documents may be queued for their consumers."""

    data_dir: Path = Field(default_factory=lambda: user_data_path("stxm-rixs-beamline"), strict=False)
    minimum_free_gb: PositiveFloat = 1.0  # with less disk space, no run is begun
    # "sqlite" or "postgresql://USER@HOST/DATABASE"; where none is given, it stays where the data folder has it.
    catalogue: SecretStr | None = None

    @field_validator("data_dir", mode="before")
    @classmethod
    def _not_empty(cls, text: Any) -> Any:
        if not str(text).strip() or "\0" in str(text):
            raise ValueError(f"{text!r} is not the path of a folder")
        return text

    @field_validator("data_dir")
    @classmethod
    def _relative_to_file(cls, path: Path, info: ValidationInfo) -> Path:
        folder = info.context["file"].absolute().parent if info.context else Path()
        return folder / path.expanduser()

    @field_validator("catalogue", mode="before")
    @classmethod
    def _is_address(cls, text: Any, info: ValidationInfo) -> Any:
        """Refuse what is no address without showing it: a password may be in it."""
        if not isinstance(text, str):
            raise ValueError(EXPECTED)
        _, password = parse_address(text)
        if password and info.context and (mode := info.context["file"].stat().st_mode & 0o777) & 0o077:
            raise ValueError(
                f"has a password, and others may read the file, whose mode is {mode:04o}: expected 0600, or the "
                "password in PGPASSWORD, in ~/.pgpass, or in the file that ?passfile= names"
            )
        return text


class Suspenders(_Table):
    """Table `suspenders`: when a run is suspended for lack of light."""

    ring_current_low: PositiveFloat  # mA; a run is suspended below
    ring_current_resume: PositiveFloat  # mA; it resumes from here on
    settle_time: NonNegativeFloat = Field(10.0, le=86400.0)  # s to wait once the light is back
    front_end_shutter: bool = True  # whether to suspend as well while the shutter is not open
    give_up_after: PositiveFloat | None = None  # s without light after which the run is ended; None: it waits

    @model_validator(mode="after")
    def _resume_above_low(self) -> Self:
        if self.ring_current_resume < self.ring_current_low:
            raise ValueError(
                f"ring_current_resume: {self.ring_current_resume:g} mA is below ring_current_low, "
                f"{self.ring_current_low:g} mA"
            )
        return self


class CalibrationTable(_Table):
    """Table `calibration`: what is known of the instruments from before; see `beamline.acquire.references`."""

    rixs: str = ""  # of the spectrograph: a pooled analysis of maps, or a run with a calibration of its own
    open_beam: str = ""  # of the I0 monitor: a spectrum without a sample, by whose channel its structure is taken out
    open_beam_channel: str = "diode"
    energy: bool = False  # of the monochromator: whether the newest of `beamline calibrate` is applied to spectra

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.rixs or self.open_beam or self.energy):
            raise ValueError("expected rixs, open_beam or energy")
        return self


class Service(_Table):
    """Table `service`: where `beamline serve` answers; see the page on the service in the documentation."""

    host: str = Field("127.0.0.1", min_length=1)  # loopback: what is beyond this computer comes through a proxy
    page_port: PositiveInt = Field(8420, le=65535)
    catalogue_port: PositiveInt = Field(8421, le=65535)  # Tiled, for databroker's clients
    queue_port: PositiveInt = Field(8422, le=65535)  # bluesky-httpserver, for clients of the queue
    # By which browsers reach the page through a proxy: "https://beamline.example.org".
    addresses: tuple[str, ...] = Field((), strict=False)

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = [self.page_port, self.catalogue_port, self.queue_port]
        if len(set(ports)) < len(ports):
            raise ValueError(f"page_port, catalogue_port and queue_port are {ports}, expected three different ones")
        return self

    @field_validator("addresses")
    @classmethod
    def _are_origins(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for each in addresses:
            scheme, _, host = each.partition("://")
            if scheme not in ("http", "https") or not host or "/" in host:
                raise ValueError(f"{each!r}: expected an address without a path, as 'https://beamline.example.org'")
        return addresses


class ReductionConfig(_Table):
    """How data are reduced, and where they are stored: what of a configuration holds without an endstation."""

    references: dict[str, str] = {}  # of chemical maps: name -> run or file; see `beamline.acquire.references`
    calibration: CalibrationTable | None = None
    processing: dict[str, dict[str, Any]] = {}  # pipeline -> step -> settings; see `processing_problems`
    storage: Storage = Storage()
    _path: Path = PrivateAttr(default=SIMULATED)

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._path

    def model_post_init(self, context: Any) -> None:
        """Remember the file that is read, which `load_config` gives as context."""
        if context:
            self._path = context["file"]


class Config(ReductionConfig):
    """An endstation: its devices, how its data are reduced, and where they are stored."""

    endstation: EndstationTable
    devices: dict[str, Device]
    channels: dict[str, ChannelTable] = {}
    channel_access: ChannelAccess | None = None
    ioc: SimulatedIoc | None = None
    suspenders: Suspenders | None = None
    service: Service = Service()


def load_config(path: Path | None = None) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : Path, optional
        A TOML file; by default that of the simulated endstation.

    Raises
    ------
    BeamlineError
        When it is not valid, with a line for each mistake: the file, the table and key, the value and what was
        expected.
    """
    path = path or SIMULATED
    return _validated(path, read_tables(path), Config)


def load_reduction_config(path: Path | None = None) -> ReductionConfig:
    """Read what a configuration says of the reduction: of a whole one, or of one without an endstation.

    Parameters
    ----------
    path : Path, optional
        A TOML file; by default that of the simulated endstation.

    Raises
    ------
    BeamlineError
        As of `load_config`; a whole one is checked as a whole.
    """
    path = path or SIMULATED
    tables = read_tables(path)
    of_endstation = Config.model_fields.keys() - ReductionConfig.model_fields.keys()
    return _validated(path, tables, Config if tables.keys() & of_endstation else ReductionConfig)


def read_model(path: Path, model: type[ConfigT]) -> ConfigT:
    """Read a file of TOML as a model.

    Raises
    ------
    BeamlineError
        When it cannot be read, or is not as the model has it: a line for each mistake.
    """
    return _validated(path, read_tables(path), model)


def _validated(path: Path, tables: dict[str, Any], model: type[ConfigT]) -> ConfigT:
    if infinite := [f"{path}: {where}: {number} is not a finite number" for where, number in not_finite("", tables)]:
        raise BeamlineError(*infinite)
    try:
        return model.model_validate(tables, context={"file": path})
    except ValidationError as error:
        raise BeamlineError(*(f"{path}: {line}" for line in explain(error, model))) from error


def read_tables(path: Path) -> dict[str, Any]:
    """Read a file of TOML; `BeamlineError` where it is none."""
    try:
        if path.exists() and not path.is_file():
            raise BeamlineError(f"{path}: cannot be read: is no file")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise BeamlineError(f"{path}: is larger than {LARGEST_FILE} bytes; is it a configuration?")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BeamlineError(f"{path}: not a text file in UTF-8") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is the first; also of dates that there are not
        raise BeamlineError(f"{path}: not valid TOML: {error}") from error


def not_finite(where: str, value: Any) -> Iterator[tuple[str, float]]:
    """Find the numbers in a table that are infinite or none, with their keys: no setting means anything by them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, value
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from not_finite(f"{where}.{key}" if where else str(key), item)


def resolve_class(class_path: str) -> type:
    """Import the class that a dotted path names.

    Raises
    ------
    BeamlineError
        When the path is not one, the module cannot be imported, or holds no such class.
    """
    module_name, _, name = class_path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in class_path.split(".")):
        raise BeamlineError(f"class {class_path!r}: expected a dotted path like package.module.Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises while it is imported
        raise BeamlineError(f"class {class_path!r}: module {module_name!r} cannot be imported: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise BeamlineError(f"class {class_path!r}: {unknown(f'class of {module_name}', name, classes)}")
    return found


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and suggest the most similar one that is known."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


# What is expected, in the words of TOML, where pydantic has those of Python.
IN_TOML = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "expected a table"),
    **dict.fromkeys(("tuple_type", "list_type"), "expected a list, such as [1, 2]"),
}


def explain(error: ValidationError, model: type[BaseModel], *within: str) -> list[str]:
    """Return one line for each mistake in the input of a model: where, what was found, what was expected.

    Parameters
    ----------
    error : pydantic.ValidationError
        The error raised by the model.
    model : type
        The model.
    *within : str
        Names of the tables that contain its input.
    """
    lines = []
    for problem in error.errors():
        where = list(problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            key = where.pop()
            message = unknown("key", str(key), _keys_at(model, where))
        elif problem["type"] == "union_tag_invalid":
            key, found, tags = (str(problem["ctx"][name]) for name in ("discriminator", "tag", "expected_tags"))
            known = tags.replace("'", "")
            message = f"{unknown(key[1:-1], found, known.split(', '))}; expected one of {known}"
        elif problem["type"] == "missing" and isinstance(where[-1], int):
            message = f"holds {number_of(int(where.pop()), 'value')}, expected more"
        elif problem["type"] not in ("missing", "value_error"):
            message = IN_TOML.get(problem["type"], message)
            message += f", not {shortened(repr(problem['input']), SHOWN)}"
        lines.append(": ".join([".".join(map(str, [*within, *where])), message]).removeprefix(": "))
    return lines


def _keys_at(model: Any, table: Iterable[Any]) -> list[str]:
    """List the keys that a table of a model may have."""
    for part in table:
        if get_origin(model) is dict:
            model = get_args(model)[1]
        elif isinstance(model, UnionType):  # of models that a key tells apart, by which the error names this one
            model = next(one for one in get_args(model) if part in _tags(one))
        else:
            model = model.model_fields[part].annotation
        if get_origin(model) is Annotated:
            model = get_args(model)[0]
        if NoneType in get_args(model):
            model = get_args(model)[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _tags(model: type[BaseModel]) -> set[Any]:
    """Give the values by which a model is told apart from others."""
    return {
        tag
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for tag in get_args(field.annotation)
    }
