"""A PostgreSQL server for tests, on a socket in a folder of its own."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from beamline.storage.catalogue.place import use_catalogue

PASSWORD = "p@ss w\"rd/%'"  # what has to be escaped somewhere
QUOTED = "p%40ss%20w%22rd%2F%25%27"
# What the tests hold is gone with them: nothing is forced to the disk.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=200")


def programs():
    """The folder of the server's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Cluster:
    """A server with a role `beamline`, who needs a password and may create databases."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._as = {}
        if os.geteuid() == 0:  # as whom the server refuses to run
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["-U", "beamline", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        command = [programs() / "initdb", "-D", self.folder / "data", f"--pwfile={password}", *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as)
        self._process = None
        self._numbers = count(1)
        self.start()
        self._ask("postgres", "CREATE ROLE user_without_rights LOGIN PASSWORD 'other'")

    def start(self):
        settings = [part for each in FAST for part in ("-c", each)]
        command = [programs() / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._ask("postgres", "SELECT 1")
            except (OSError, asyncpg.PostgresError):
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def kill(self):
        """End it at once: SIGQUIT, by which it ends its own children as well, and rolls back when it starts again."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)

    def database(self):
        """Create a database; gives its name."""
        name = f"catalogue_{next(self._numbers)}"
        self._ask("postgres", f"CREATE DATABASE {name}")
        return name

    def address(self, name, password=QUOTED, user="beamline"):
        return f"postgresql://{user}{password and f':{password}'}@/{name}?host={self.folder}"

    def use(self, data_dir, name=None):
        """Let the catalogue of a data folder be in a database, a new one by default; gives its name."""
        name = name or self.database()
        use_catalogue(data_dir, SecretStr(self.address(name)))
        return name

    def ask(self, name, statement, *values):
        """Rows that a database answers."""
        return self._ask(name, statement, *values)

    def _ask(self, name, statement, *values):
        async def answer():
            options = {"host": str(self.folder), "user": "beamline", "password": PASSWORD, "database": name}
            connection = await asyncpg.connect(**options)
            try:
                return [tuple(row) for row in await connection.fetch(statement, *values)]
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, answer()).result()
