"""The engine of a service for one user, without a queue: ``python -m beamline.serve.engine``.

It takes orders at a socket that only its owner can reach, a line of JSON each, and answers each with one.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socketserver
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamline.acquire.session import Session, measure_all
from beamline.errors import BeamlineError
from beamline.serve.measuring import measuring_session
from beamline.serve.parts import Places
from plans import PLANS

logger = logging.getLogger(__name__)

KEPT = 50  # runs that are remembered


class Engine:
    """Runs one plan at a time, in the thread that calls `work`; others ask by `order`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._plans: queue.Queue[dict[str, Any] | None] = queue.Queue(1)
        self._resume: queue.Queue[bool] = queue.Queue()  # True to resume, False to abort
        self._running: dict[str, Any] = {}
        self._history: list[dict[str, Any]] = []

    def order(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked, and answer."""
        engine: Any = self._session.RE
        what = asked.get("do")
        if what == "status":
            return {"running": self._running, "history": self._history, "re_state": str(engine.state)}
        if what == "run":
            if self._running:
                return {
                    "problem": f"{self._running['name']} is being measured; there is no queue in a service for one user"
                }
            self._running = {key: asked[key] for key in ("item_uid", "name", "kwargs", "user")}
            self._plans.put(self._running)
        elif not self._running:
            return {"problem": "nothing is being measured"}
        elif what == "pause":
            engine.request_pause(defer=not asked.get("now"))
        elif what in ("resume", "abort") and str(engine.state) == "paused":
            self._resume.put(what == "resume")
        else:
            return {"problem": f"{what!r} cannot be done while the engine is {engine.state}"}
        return {}

    def work(self) -> None:
        """Run what is ordered until `end`."""
        while (plan := self._plans.get()) is not None:
            began = time.time()
            uids: list[str] = []
            token = self._session.RE.subscribe(lambda _name, doc, uids=uids: uids.append(doc["uid"]), "start")
            status, message = "completed", ""
            try:
                made = PLANS[plan["name"]].function(self._session.endstation, **plan["kwargs"])
                measure_all(self._session, made, on_pause=self._resume.get)
            except BeamlineError as error:
                status, message = "failed", str(error)
            finally:
                self._session.RE.unsubscribe(token)
            result = {
                "exit_status": status,
                "run_uids": uids,
                "time_start": began,
                "time_stop": time.time(),
                "msg": message,
            }
            self._history = [*self._history[-KEPT + 1 :], {**plan, "result": result}]
            self._running = {}

    def end(self) -> None:
        """End it: a plan that runs is aborted in order."""
        if self._running:
            with suppress(Exception):  # it is not running any more, or not yet
                self._session.RE.request_pause()
            self._resume.put(False)
        self._plans.put(None)


def main() -> None:
    """Take orders until ended."""
    os.umask(0o077)
    path = Path(Places.of(Path(os.environ["BEAMLINE_DATA_DIR"])).engine)
    path.unlink(missing_ok=True)
    with measuring_session() as session:
        engine = Engine(session)

        class Orders(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(json.dumps(engine.order(json.loads(line)), default=str).encode() + b"\n")

        with socketserver.ThreadingUnixStreamServer(str(path), Orders) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=engine.end, daemon=True).start())
            engine.work()
            server.shutdown()


if __name__ == "__main__":
    main()
