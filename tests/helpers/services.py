"""Start the service as its users do, by the command, and reach it."""

import json
import signal
import subprocess
import time
import tomllib
from contextlib import ExitStack, contextmanager

import httpx
from bluesky_queueserver_api.http import REManagerAPI

from beamline.endstation.config import SIMULATED
from simulated_devices.ports import free_port

STARTED = ("redis", "queue", "catalogue", "queue-api", "page")


class Service:
    """A service that runs, and who may use it."""

    def __init__(self, folder, ports):
        self.folder, self.ports, self.opened = folder, ports, ExitStack()

    def key(self, role):
        return tomllib.loads((self.folder / "service" / "keys.toml").read_text())["users"][role]["key"]

    def parts(self):
        try:
            return json.loads((self.folder / "service" / "service.json").read_text())["parts"]
        except (OSError, ValueError):
            return {}

    def address(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    def client(self, role):
        client = REManagerAPI(http_server_uri=self.address("queue"), http_auth_provider="/keys/token")
        self.opened.callback(client.close)
        client.login(role, password=self.key(role))
        return client

    def session(self, role):
        origin = self.address("page")
        client = self.opened.enter_context(httpx.Client(base_url=origin, headers={"origin": origin}))
        assert client.post("/login", json={"key": self.key(role)}).status_code == 200
        return client


def until(what, timeout=60.0):
    deadline = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@contextmanager
def serving(folder, *options, endstation=None, addresses=()):
    """Run the service of a folder: the text of a configuration, or the simulated endstation; addresses of a proxy."""
    ports = {name: free_port() for name in ("page", "catalogue", "queue")}
    config = folder / "endstation.toml"
    table = "\n".join(f"{name}_port = {port}" for name, port in ports.items())
    table += f"\naddresses = {json.dumps(list(addresses))}"
    config.write_text(f"{endstation or SIMULATED.read_text()}\n[service]\n{table}\n")
    command = ["beamline", "serve", "--config", str(config), "--data-dir", str(folder / "data"), *options]
    with (folder / "serve.out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        service = Service(folder / "data", ports)
        try:
            yield service, process
        finally:
            service.opened.close()
            process.send_signal(signal.SIGTERM)
            process.wait(60)
