"""Ask every endpoint on every port of the service, without a key and in each role; print who is answered.

Run as ``python tests/attacks/endpoints.py``; a minute. What is refused is 401, 403, 404 of what is closed, or a closed
websocket. It ends with 1 where somebody without a key is answered by more than `OPEN`, or anybody by what no role may.
"""

import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from services import STARTED, serving, until

from beamline.endstation.config import load_config
from beamline.serve.checking import PlanChecks
from beamline.serve.keys import load_keys
from beamline.serve.page.app import Page
from beamline.serve.parts import Places
from beamline.serve.queue_api import queue_app
from beamline.storage.catalogue.embedded import served_app

NOBODY, ROLES = "nobody", ("viewer", "user", "operator")
REFUSED = (401, 403, 404, 405)
OPEN = {
    "page": {"GET /healthz", "GET /", "GET /login", "POST /login", "POST /logout", "GET /static", "GET /static/uplot"},
    "catalogue": {"GET /healthz", "GET /api/v1/"},
    "queue": {"GET /healthz", "POST /api/auth/provider/keys/token", "POST /api/auth/session/refresh"},
}
NEVER = re.compile(r"/(script|function|docs|openapi|redoc)")  # what no role may


def routes(app, at=""):
    """Give method and path of each route of an application, and of those mounted in it."""
    for route in getattr(app, "routes", ()):
        path = at + getattr(route, "path", "")
        methods = getattr(route, "methods", None)
        if methods:
            yield from ((method, path) for method in sorted(methods - {"HEAD", "OPTIONS"}))
        elif getattr(route, "routes", None):
            yield from routes(route, path)
        else:
            yield "GET", path


def described(app):
    """Give what FastAPI tells of routers that were included, which are not among its routes."""
    if hasattr(app, "openapi"):
        for path, methods in app.openapi()["paths"].items():
            yield from ((method.upper(), path) for method in methods)


def clients(service, port):
    """Give a client in each role."""
    address = service.address(port)
    made = {NOBODY: httpx.Client(base_url=address, headers={"origin": address})}
    for role in ROLES:
        if port == "page":
            made[role] = service.session(role)
        elif port == "queue":
            form = {"username": role, "password": service.key(role)}
            token = httpx.post(f"{address}/api/auth/provider/keys/token", data=form).json()["access_token"]
            made[role] = httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"})
        else:
            made[role] = httpx.Client(base_url=address, headers={"authorization": f"Apikey {service.key(role)}"})
    return made


def applications(service, config):
    """Give the application behind each port, as its process makes it."""
    places, folder = Places.of(service.folder), service.folder
    keys, loaded = load_keys(places.keys), load_config(config)
    return {
        "page": Page(loaded, folder, places, keys).app(),
        "queue": queue_app(places, keys, PlanChecks(loaded, folder)).app,
        "catalogue": served_app(folder),
    }


def status(client, method, path):
    """Give the status of an answer, which may never end; of none within 10 s, 0."""
    try:
        with client.stream(method, path, json={}, timeout=10) as answer:
            return answer.status_code
    except httpx.TimeoutException:
        return 0


def main():
    """Ask all."""
    wrong = []
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as path, serving(Path(path)) as (service, _process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in STARTED), timeout=120)
        for port, app in applications(service, Path(path) / "endstation.toml").items():
            asked = sorted(
                {*routes(app), *described(app)}, key=lambda one: ("kill" in one[1] or "stop" in one[1], one[1], one[0])
            )
            by_role, counts = clients(service, port), Counter()
            for method, route in asked:
                told = {}
                for role, client in by_role.items():
                    told[role] = status(client, method, re.sub(r"{[^}]*}", "1", route))
                    counts[role] += told[role] not in REFUSED
                name = f"{method} {route}"
                print(f"{port:10} {name:60}", *(f"{role} {status}" for role, status in told.items()))
                if told[NOBODY] not in REFUSED and name not in OPEN[port]:
                    wrong.append(f"{port}: {name} answers {told[NOBODY]} without a key")
                if NEVER.search(route) and any(status not in REFUSED for status in told.values()):
                    wrong.append(f"{port}: {name} answers {told}")
            print(f"{port}: {len(asked)} endpoints; answered:", dict(counts))
    print("\n".join(wrong) or "as it should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
