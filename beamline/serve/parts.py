"""What the service is made of: how each of its processes is started, and how it is asked whether it is well."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml
from bluesky_queueserver_api.zmq import REManagerAPI

from beamline.child_process import module_command
from beamline.endstation.config import Config
from beamline.serve.keys import Keys, write_private
from beamline.serve.supervisor import Part
from beamline.storage.layout import Layout

REDIS, QUEUE, CATALOGUE, QUEUE_API, PAGE = "redis", "queue", "catalogue", "queue-api", "page"
ENGINE = "engine"  # of a service for one user, in place of the first two and the fourth
DOES = {
    REDIS: "keeps the queue",
    QUEUE: "measures what is queued",
    CATALOGUE: "serves the catalogue",
    QUEUE_API: "takes orders for the queue",
    PAGE: "shows the page",
    ENGINE: "measures what is asked for",
}
LONGEST_SOCKET = 90  # characters of the path of a socket; the kernel takes 107
ANSWER = 2.0  # s that an answer may take


@dataclass(frozen=True)
class Places:
    """Where the processes of a service meet: files and ports of this computer.

    Attributes
    ----------
    folder : Path
        Of keys, settings, queue and logs; only its owner can look into it.
    sockets : Path
        Of the sockets of the queue; only its owner can reach them.
    redis_port : int
        On loopback.
    """

    folder: Path
    sockets: Path
    redis_port: int

    @classmethod
    def of(cls, data_dir: Path) -> Places:
        """Make the places of a data folder's service, or find those that were made before."""
        folder = Layout(data_dir).service
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        sockets = folder / "sockets"
        if len(str(sockets)) > LONGEST_SOCKET - len("/control"):
            runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
            sockets = runtime / f"beamline-{os.getuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        sockets.mkdir(mode=0o700, exist_ok=True)
        port = folder / "redis.port"
        if not port.exists():
            write_private(port, str(_free_port()))
        return cls(folder, sockets, int(port.read_text()))

    @property
    def notes(self) -> Path:
        """File of how the parts are."""
        return self.folder / "service.json"

    @property
    def lock(self) -> Path:
        """File locked by the one supervisor of a data folder."""
        return self.folder / "service.lock"

    @property
    def worker_lock(self) -> Path:
        """File locked by what measures for the queue, as long as it lives."""
        return self.folder / "worker.lock"

    @property
    def keys(self) -> Path:
        """File of the keys."""
        return self.folder / "keys.toml"

    @property
    def engine(self) -> str:
        """Path of the socket at which the engine of a service for one user takes orders."""
        return f"{self.sockets}/engine"

    @property
    def control(self) -> str:
        """Address at which the queue takes orders."""
        return f"ipc://{self.sockets}/control"

    @property
    def info(self) -> str:
        """Address at which the queue tells of itself."""
        return f"ipc://{self.sockets}/info"


def parts_of(config: Config, data_dir: Path, places: Places, keys: Keys, *, single: bool = False) -> list[Part]:
    """Give the parts of a service, in the order in which they are started.

    Parameters
    ----------
    config : Config
    data_dir : Path
    places : Places
    keys : Keys
    single : bool
        For one user: an engine in place of the queue.
    """
    environment = {
        "BEAMLINE_CONFIG": str(config.path.absolute()),
        "BEAMLINE_DATA_DIR": str(data_dir),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    service = config.service
    if single:
        alone = environment | {"BEAMLINE_SINGLE": "1"}
        return [_engine(places, alone), _server(PAGE, "beamline.serve.page", service.host, service.page_port, alone)]
    return [
        _redis(places, keys, environment),
        _queue(places, keys, environment),
        _server(CATALOGUE, "beamline.serve.catalogue_server", service.host, service.catalogue_port, environment),
        replace(
            _server(QUEUE_API, "beamline.serve.queue_api", service.host, service.queue_port, environment),
            after=(QUEUE,),
        ),
        _server(PAGE, "beamline.serve.page", service.host, service.page_port, environment),
    ]


def has_redis() -> bool:
    """Tell whether Redis is installed, which keeps the queue; else one of Python is used, which does not."""
    return shutil.which("redis-server") is not None


def redis_client(places: Places, keys: Keys) -> redis.Redis:
    """Connect to the Redis of a service."""
    password = keys.internal["redis"] if has_redis() else None
    return redis.Redis(port=places.redis_port, password=password, socket_timeout=ANSWER, socket_connect_timeout=ANSWER)


def queue_client(places: Places) -> REManagerAPI:
    """Connect to the manager of the queue."""
    return REManagerAPI(
        zmq_control_addr=places.control, zmq_info_addr=places.info, timeout_recv=ANSWER, timeout_send=ANSWER
    )


def ask_engine(path: str, order: dict[str, Any]) -> dict[str, Any]:
    """Give an order to the engine of a service for one user, and its answer."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(ANSWER)
        one.connect(path)
        with one.makefile("rwb") as lines:
            lines.write(json.dumps(order).encode() + b"\n")
            lines.flush()
            answer: dict[str, Any] = json.loads(lines.readline())
            return answer


def _redis(places: Places, keys: Keys, environment: dict[str, str]) -> Part:
    client = redis_client(places, keys)

    def well() -> str:
        return "" if client.ping() else "does not answer"

    folder = places.folder / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    if has_redis():
        settings = places.folder / "redis.conf"
        lines = {
            "bind": "127.0.0.1",
            "port": places.redis_port,
            "requirepass": keys.internal["redis"],
            "dir": f'"{folder}"',
            "appendonly": "yes",
            "save": '""',
            "daemonize": "no",
        }
        write_private(settings, "".join(f"{key} {value}\n" for key, value in lines.items()))
        command = ["redis-server", str(settings)]
    else:
        command = module_command("beamline.serve.embedded_redis", str(places.redis_port))
    return Part(REDIS, DOES[REDIS], command, environment, well)


def _queue(places: Places, keys: Keys, environment: dict[str, str]) -> Part:
    password = f":{keys.internal['redis']}@" if has_redis() else ""
    anyone = {
        "allowed_plans": [":.*"],
        "forbidden_plans": [],
        "allowed_devices": [],
        "forbidden_devices": [":.*"],
        "allowed_functions": [],
        "forbidden_functions": [":.*"],
    }
    permissions = places.folder / "permissions.yaml"
    write_private(permissions, yaml.safe_dump({"user_groups": {"root": anyone, "primary": anyone}}))
    settings = places.folder / "queue.yaml"
    write_private(
        settings,
        yaml.safe_dump(
            {
                "network": {
                    "zmq_control_addr": places.control,
                    "zmq_info_addr": places.info,
                    "zmq_publish_console": False,
                    "redis_addr": f"{password}127.0.0.1:{places.redis_port}",
                    "redis_name_prefix": "beamline",
                },
                "startup": {
                    "keep_re": True,
                    "startup_module": "beamline.serve.queue_startup",
                    "existing_plans_and_devices_path": str(places.folder / "plans.yaml"),
                    "user_group_permissions_path": str(permissions),
                    "device_max_depth": 1,
                },
                "operation": {"console_logging_level": "NORMAL"},
            }
        ),
    )
    client = queue_client(places)

    def well() -> str:
        client.status(reload=True)
        return ""

    return Part(
        QUEUE,
        DOES[QUEUE],
        module_command("beamline.serve.queue_manager", "--config", str(settings)),
        environment,
        well,
        after=(REDIS,),
        start_within=60.0,
    )


def _engine(places: Places, environment: dict[str, str]) -> Part:
    def well() -> str:
        ask_engine(places.engine, {"do": "status"})
        return ""

    command = module_command("beamline.serve.engine")
    return Part(ENGINE, DOES[ENGINE], command, environment, well, start_within=60.0)


def _server(name: str, module: str, host: str, port: int, environment: dict[str, str]) -> Part:
    address = f"http://{'[::1]' if ':' in host else host}:{port}/healthz"

    def well() -> str:
        answer = httpx.get(address, timeout=ANSWER)
        return "" if answer.status_code == 200 else f"answers {answer.status_code}: {answer.text[:100]}"

    return Part(name, DOES[name], module_command(module), environment, well)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
