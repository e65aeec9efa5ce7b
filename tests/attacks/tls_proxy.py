"""Reach the service through nginx with TLS, as docs/how_to/service.md writes it.

Run as ``PYTHONPATH=tests/helpers python tests/attacks/tls_proxy.py``, with nginx, openssl and Chromium; a minute.
"""

import re
import shutil
import ssl
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import websockets.sync.client as websockets
from services import STARTED, serving, until
from tiled.client import from_uri

from simulated_devices.ports import free_port

GUIDE = Path(__file__).parents[2] / "docs" / "how_to" / "service.md"
NAME = "beamline.example.org"
WRITTEN = {"page": 443, "catalogue": 8443, "queue": 8444}  # ports in the guide


def main():
    """Tell what is answered through the proxy."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        secure = {part: free_port() for part in WRITTEN}
        origin = f"https://localhost:{secure['page']}"
        with serving(folder, addresses=[origin]) as (service, _):
            until(lambda: all(service.parts().get(part, {}).get("state") == "running" for part in STARTED), timeout=120)
            with proxied(folder, service.ports, secure):
                look(service, folder, origin, secure)


@contextmanager
def proxied(folder, ports, secure):
    """Run the proxy of the guide, on ports of its own, with a certificate that signs itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    text = "\n".join(re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))
    text = text.replace("/etc/ssl/beamline", str(folder)).replace(NAME, "localhost")
    for (part, written), inner in zip(WRITTEN.items(), (8420, 8421, 8422), strict=True):
        text = text.replace(f"127.0.0.1:{inner}", f"127.0.0.1:{ports[part]}")
        text = text.replace(f"listen {written} ", f"listen 127.0.0.1:{secure[part]} ")
    main_part = f"daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{main_part}http {{\naccess_log off;\n{text}\n}}\n")
    process = subprocess.Popen([shutil.which("nginx"), "-c", folder / "nginx.conf"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def look(service, folder, origin, secure):
    """Use each of the three."""
    trusted = ssl.create_default_context(cafile=folder / "cert.pem")
    key = service.key("user")
    with httpx.Client(base_url=origin, verify=trusted, headers={"origin": origin}) as client:
        until(lambda: answers(client))
        print("page without a key:", client.get("/api/runs").status_code)
        signed = client.post("/login", json={"key": key})
        print("page, signed in:", signed.status_code, signed.headers["set-cookie"].split("=", 1)[1].split(";", 1)[1])
        print("page, runs:", client.get("/api/runs").status_code)
        print(
            "page, from another site:", client.post("/api/queue", json={}, headers={"origin": "https://x"}).status_code
        )
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        address = origin.replace("https", "wss") + "/live"
        with websockets.connect(address, ssl=trusted, origin=origin, additional_headers={"cookie": cookie}) as live:
            print("page, live:", str(live.recv())[:60])
    catalogue = f"https://localhost:{secure['catalogue']}"
    print("catalogue without a key:", httpx.get(f"{catalogue}/api/v1/metadata/", verify=trusted).status_code)
    tiled = from_uri(f"{catalogue}/api/v1", api_key=key, verify=trusted)
    print("catalogue, runs:", len(tiled))
    queue = f"https://localhost:{secure['queue']}"
    print("queue without a key:", httpx.get(f"{queue}/api/status", verify=trusted).status_code)
    token = httpx.post(
        f"{queue}/api/auth/provider/keys/token", data={"username": "user", "password": key}, verify=trusted
    ).json()["access_token"]
    status = httpx.get(f"{queue}/api/status", verify=trusted, headers={"authorization": f"Bearer {token}"})
    print("queue, status:", status.status_code, status.json()["manager_state"])


def answers(client):
    """Tell whether the proxy is up."""
    try:
        return client.get("/login").status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
