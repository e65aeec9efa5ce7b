"""The page: who may see it, what it asks, and how the newest of everything reaches each viewer."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import uplot
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from beamline.endstation.config import Config
from beamline.errors import BeamlineError
from beamline.operations.analyses import analyses_of, list_analyses
from beamline.operations.exporting import ENDINGS, export
from beamline.operations.measure import list_plans
from beamline.operations.report import write_report
from beamline.operations.runs import (
    list_runs,
    local_time,
    sample_of,
    shown_name,
    summary_lines,
    summary_of,
    summary_warnings,
    technique_of,
)
from beamline.report.style import FigureStyle
from beamline.serve.access import HEALTH, Throttle, why_too_large
from beamline.serve.checking import PlanChecks
from beamline.serve.keys import Keys, Role, User
from beamline.serve.page.again import Again, settings_of, side_by_side
from beamline.serve.page.analyses import Analyses, analysis_shown
from beamline.serve.page.beside import Turn, answer_of
from beamline.serve.page.live import Board, LiveFigures, load, panels_of
from beamline.serve.page.panels import Panel, pack
from beamline.serve.page.queue import Orders, Queue
from beamline.serve.page.sessions import WEEK, Sessions
from beamline.serve.page.single import Single
from beamline.serve.page.state import State
from beamline.serve.page.stxm_view import region_spectrum, strongest
from beamline.serve.parts import Places
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from callbacks.contract import MEASUREMENT, StxmGrid

logger = logging.getLogger(__name__)

NOW_INTERVAL = 0.5  # s between looks at what is going on
MOST_VIEWERS = 200
NUMBER = re.compile("[0-9]{1,9}")  # of runs or images, in an address
LISTED_RUNS, MOST_RUNS = 100, 2000  # where nothing is said, and at most
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
Answer = Callable[[Request, User], Awaitable[Response]]


class Page:
    """The application of the page, with what it follows.

    Parameters
    ----------
    config : Config
    data_dir : Path
    places : Places
    keys : Keys
    single : bool
        Whether there is an engine in place of the queue.
    """

    def __init__(self, config: Config, data_dir: Path, places: Places, keys: Keys, *, single: bool = False) -> None:
        self._single = single
        self._config, self._data_dir, self._places, self._keys = config, data_dir, places, keys
        self._sessions = Sessions(keys.users, places.folder / "signed-out.json")
        turn = Turn()
        self._again, self._analyses = Again(data_dir, turn), Analyses(config.path.absolute(), data_dir, turn)
        self._printing = Turn()
        self._checks = PlanChecks(config, data_dir)
        self._throttle = Throttle()
        self._viewers = 0
        self._listed: dict[str, dict[str, Any]] = {}  # of runs that have ended, by uid
        self._listed_analyses: dict[str, dict[str, Any]] = {}
        service = config.service
        own = {f"http://{host}:{service.page_port}" for host in ("127.0.0.1", "localhost", "[::1]", service.host)}
        self._origins = own | set(service.addresses)
        self._hosts = {origin.partition("://")[2] for origin in self._origins}

    def app(self) -> Starlette:
        """Build the application."""
        static = Path(str(files(__package__) / "static"))
        routes = [
            Route(HEALTH, self._health),
            Route("/", self._index),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            WebSocketRoute("/live", self._live),
            Mount("/static/uplot", StaticFiles(directory=Path(uplot.__file__).parent / "static")),
            Mount("/static", StaticFiles(directory=static)),
            *self._interface(),
        ]
        secure = any(each.startswith("https://") for each in self._config.service.addresses)
        session = Middleware(
            SessionMiddleware,
            secret_key=self._keys.internal["cookies"],
            session_cookie="beamline",
            max_age=WEEK,
            same_site="strict",
            https_only=secure,
        )
        return Starlette(routes=routes, middleware=[Middleware(Guarded, page=self), session], lifespan=self._lifespan)

    def _interface(self) -> list[Route]:
        def route(path: str, role: Role, answer: Answer, method: str = "GET") -> Route:
            return Route(f"/api{path}", self._for(role, answer), methods=[method])

        return [
            route("/plans", "viewer", self._plans),
            route("/samples", "user", self._samples),
            route("/runs", "viewer", self._runs),
            route("/runs/{uid}", "viewer", self._summary),
            route("/runs/{uid}/figures", "viewer", self._figures),
            route("/runs/{uid}/region", "viewer", self._region, "POST"),
            route("/runs/{uid}/reduce", "user", self._reduce, "POST"),
            route("/runs/{uid}/report", "viewer", self._report),
            route("/runs/{uid}/export/{format}", "viewer", self._export),
            route("/runs/{uid}/print", "viewer", self._print),
            route("/analyses", "viewer", self._list_analyses),
            route("/analyses", "user", self._analyse, "POST"),
            route("/analyses/stop", "user", self._stop_analysis, "POST"),
            route("/analyses/{uid}", "viewer", self._analysis),
            route("/check", "user", self._check, "POST"),
            route("/queue", "user", self._queue_action, "POST"),
        ]

    # --- who it is

    def refusal(self, headers: dict[bytes, bytes], method: str, *, socket: bool) -> str:
        """Say why a request is not taken: it names another host, or comes from another page; "" where it is."""
        host = headers.get(b"host", b"").decode("latin-1")
        if host not in self._hosts:
            return f"the host {host[:80]!r} is not this page's; its addresses belong into [service] addresses"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if (socket or method not in ("GET", "HEAD")) and origin not in self._origins:
            return f"the origin {origin[:80]!r} is not this page's"
        return ""

    def _for(self, role: Role, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            user = self._sessions.user_of(request.session)
            if user is None:
                return JSONResponse({"detail": "sign in first"}, 401)
            if not user.may(role):
                return JSONResponse({"detail": f"the role {user.role} may not do this; {role} may"}, 403)
            try:
                return await answer(request, user)
            except BeamlineError as error:
                return JSONResponse({"detail": str(error)}, 400)

        return checked

    async def _login(self, request: Request) -> Response:
        static = files(__package__) / "static"
        if request.method == "GET":
            return Response((static / "login.html").read_text(), media_type="text/html")
        address = request.client.host if request.client else ""
        if self._throttle.exceeded(address):
            return JSONResponse({"detail": "too many wrong keys from this address; wait a minute"}, 429)
        try:
            key = str((await _json(request)).get("key", "")).strip()
        except BeamlineError as error:
            return JSONResponse({"detail": str(error)}, 400)
        user = self._keys.user_of(key)
        if user is None:
            self._throttle.note(address)
            return JSONResponse({"detail": "this is no key of this service"}, 401)
        self._sessions.begin(request.session, user)
        return JSONResponse({"user": user.name, "role": user.role})

    async def _logout(self, request: Request) -> Response:
        self._sessions.end(request.session)
        return JSONResponse({})

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"detail": "ok"})

    async def _index(self, request: Request) -> Response:
        if self._sessions.user_of(request.session) is None:
            return RedirectResponse("/login")
        return Response((files(__package__) / "static" / "index.html").read_text(), media_type="text/html")

    # --- the newest of everything

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._board = Board()
        self._queue: Orders = (
            Single(self._places.engine, self._checks)
            if self._single
            else Queue(self._places.control, self._places.info, self._checks)
        )
        self._state = State(self._config, self._data_dir, self._places.notes)
        self._figures_of_now = LiveFigures(
            self._data_dir, lambda made: self._board.put(made, prefix=""), lambda: self._viewers > 0
        )
        self._now = b"{}"
        await asyncio.to_thread(self._figures_of_now.start)
        tasks = [asyncio.create_task(self._queue.follow()), asyncio.create_task(self._look())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self._analyses.close()
            await asyncio.to_thread(self._figures_of_now.stop)

    async def _look(self) -> None:
        """Look again and again at what is going on."""
        while True:
            figures = self._figures_of_now
            try:
                now = await asyncio.to_thread(self._state.now, figures.raw, figures.derived, self._queue.state)
                now["figures"] = figures.error
                now["analysis"] = self._analyses.state
                self._now = json.dumps(_jsonable(now)).encode()
            except Exception:  # the next look may succeed, and viewers see by the time that this one did not
                logger.exception("what is going on cannot be told")
            await asyncio.sleep(NOW_INTERVAL)

    async def _live(self, socket: WebSocket) -> None:
        """Send a viewer the newest, and no more before he has taken it."""
        user = self._sessions.user_of(socket.session)
        if user is None or self._viewers >= MOST_VIEWERS:
            await socket.accept()
            await socket.close(4401 if user is None else 4429)
            return
        await socket.accept()
        self._viewers += 1
        seen: dict[str, str] = {}
        told = b""
        try:
            await socket.send_json({"you": {"name": user.name, "role": user.role}})
            while self._sessions.user_of(socket.session) is not None:
                fresh = self._board.news(seen)
                if self._now != told:
                    told = self._now
                    await socket.send_text(told.decode())
                if fresh or told is self._now:
                    await socket.send_json({"figures": list(seen)})
                for item in fresh.values():
                    await socket.send_bytes(item)
                await socket.send_json({"done": True})
                if (await socket.receive())["type"] == "websocket.disconnect":  # else he has drawn it
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(NOW_INTERVAL):
                        await self._board.change()
            await socket.close(4401)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            self._viewers -= 1

    # --- what it asks

    async def _plans(self, _request: Request, _user: User) -> Response:
        return JSONResponse(list_plans())

    async def _samples(self, _request: Request, _user: User) -> Response:
        return JSONResponse(await asyncio.to_thread(self._checks.samples))

    async def _runs(self, request: Request, _user: User) -> Response:
        asked = {key: value.strip().lower() for key, value in request.query_params.items() if value.strip()}
        last = asked.get("last", "")
        number = _listed(last)

        def wanted(run: dict[str, Any]) -> bool:
            text = " ".join(str(each) for each in run.values()).lower()
            return (
                all(asked.get(key, "") in str(run.get(key) or "").lower() for key in ("sample", "edge", "technique"))
                and asked.get("text", "") in text
                and ("since" not in asked or run["time"][: len(asked["since"])].lower() >= asked["since"])
                and ("until" not in asked or run["time"][: len(asked["until"])].lower() <= asked["until"])
            )

        def made() -> list[dict[str, Any]]:
            found = list_runs(Runs(self._data_dir), last=number, wanted=wanted, known=self._listed)
            status = asked.get("status", "")
            return [run for run in found if status in " ".join([run["exit_status"], *run["problems"]]).lower()]

        return JSONResponse(_jsonable(await asyncio.to_thread(made)))

    async def _summary(self, request: Request, _user: User) -> Response:
        def made() -> dict[str, Any]:
            runs = Runs(self._data_dir)
            entry = runs.find(request.path_params["uid"])
            summary = summary_of(runs, entry.uid)
            raw, derived = runs.load_with_derived(entry.uid)
            technique = technique_of(raw)
            stack = derived is not None and "optical_density" in derived.result
            return {
                "title": f"{shown_name(raw)}: {technique.title}, {sample_of(raw.start)}",
                "summary": summary,
                "lines": [*_about(raw), *summary_lines(summary)],
                "warnings": summary_warnings(summary),
                "exports": list(technique.exporters) if derived is not None else [],
                "settings": settings_of(derived) if derived is not None else [],
                "others": _others(runs, entry),
                "analyses": analyses_of(runs, entry.uid),
                "strongest": strongest(derived.result.get("spectrum")) if stack and derived else None,
                "energies": np.asarray(derived.result["stack_energy"], dtype=float) if stack and derived else [],
            }

        return JSONResponse(_jsonable(await asyncio.to_thread(made)))

    async def _figures(self, request: Request, _user: User) -> Response:
        energy, other = (request.query_params.get(name, "") for name in ("energy", "with"))

        def made() -> bytes:
            runs = Runs(self._data_dir)
            entry = runs.find(request.path_params["uid"])
            panels = _panels(runs, entry, energy)
            if other:
                reductions = (one for one in runs.entries() if one.uid == other and one.reduction_of)
                beside = next(reductions, None) or runs.find(other)
                names = _name_beside(entry, beside), _name_beside(beside, entry)
                panels = side_by_side(panels, _panels(runs, beside, energy), names)
            return pack(panels)

        return Response(await asyncio.to_thread(made), media_type="application/octet-stream")

    async def _reduce(self, request: Request, _user: User) -> Response:
        changes = (await _json(request)).get("changes")
        if not isinstance(changes, dict):
            raise BeamlineError("changes: expected settings by name")
        return JSONResponse(_jsonable(await self._again(request.path_params["uid"], changes)))

    async def _region(self, request: Request, _user: User) -> Response:
        asked = await _json(request)
        path = np.array(asked.get("path"), dtype=object)
        if (
            path.ndim != 2
            or path.shape[1] != 2
            or not all(isinstance(each, int) and each >= 0 for each in path.ravel())
        ):
            raise BeamlineError("path: expected rows and columns of pixels")
        number = asked.get("region")

        def made() -> bytes:
            runs = Runs(self._data_dir)
            raw, derived = load(runs, runs.find(request.path_params["uid"]))
            grid = raw.measurement.get("grid")
            if derived is None or grid is None:
                raise BeamlineError("this run has no images that are reduced")
            regions = StxmGrid.model_validate(grid)
            if not isinstance(number, int) or not 0 <= number < len(regions.regions):
                raise BeamlineError(f"region: expected 0 to {len(regions.regions) - 1}")
            try:
                return pack([region_spectrum(derived, regions, number, path.astype(float))])
            except (ValueError, IndexError) as error:
                raise BeamlineError(str(error)) from error
            finally:
                derived.close()

        return Response(await asyncio.to_thread(made), media_type="application/octet-stream")

    async def _list_analyses(self, request: Request, _user: User) -> Response:
        def made() -> list[dict[str, Any]]:
            last = _listed(request.query_params.get("last", ""))
            return list_analyses(Runs(self._data_dir), last=last, known=self._listed_analyses)

        return JSONResponse(await asyncio.to_thread(made))

    async def _analysis(self, request: Request, _user: User) -> Response:
        return JSONResponse(await asyncio.to_thread(analysis_shown, Runs(self._data_dir), request.path_params["uid"]))

    async def _analyse(self, request: Request, user: User) -> Response:
        asked = await _json(request)
        return JSONResponse(await self._analyses.start(user, asked.get("runs"), asked.get("recipe")))

    async def _stop_analysis(self, _request: Request, user: User) -> Response:
        return JSONResponse(await self._analyses.stop(user))

    async def _report(self, request: Request, _user: User) -> Response:
        return await self._made(
            request, lambda runs, uid, folder: [write_report(runs, uid, folder / f"{uid[:8]}.html")]
        )

    async def _export(self, request: Request, _user: User) -> Response:
        form: Any = request.path_params["format"]
        if form not in ENDINGS:
            raise BeamlineError(f"no format {form!r}; there are {', '.join(ENDINGS)}")
        return await self._made(
            request, lambda runs, uid, folder: export(runs, uid, form, folder / f"{uid[:8]}{ENDINGS[form]}")
        )

    async def _made(self, request: Request, make: Callable[[Runs, str, Path], list[Path]]) -> Response:
        """Make files of a run or an analysis, and hand them out, several in one archive."""

        async def made(runs: Runs, uid: str, folder: Path) -> Path:
            return await asyncio.to_thread(_one_file, make, runs, uid, folder)

        return await self._handed_out(request, made)

    async def _print(self, request: Request, _user: User) -> Response:
        """Hand out the figures of a report in a style for print, with their numbers, in one archive.

        They are drawn by a process of their own: large ones take seconds, in which nobody would see the live view.
        """
        style = _style(request.query_params)

        async def made(_runs: Runs, uid: str, folder: Path) -> Path:
            figures = folder / f"figures-{uid[:8]}"
            options = {
                "--output": folder / "report.html",
                "--figures": figures,
                "--figure-format": style.format,
                "--width": style.width,
                "--font-size": style.font_size,
                "--colours": style.colours,
                "--data-dir": self._data_dir,
            }
            with self._printing.take("figures for print are being drawn for somebody"):
                await answer_of("report", uid, *(str(each) for option in options.items() for each in option))
            return Path(await asyncio.to_thread(shutil.make_archive, str(figures), "zip", figures))

        return await self._handed_out(request, made)

    async def _handed_out(self, request: Request, make: Callable[[Runs, str, Path], Awaitable[Path]]) -> Response:
        """Hand out a file that is made of a run or an analysis in a folder, which is deleted afterwards."""
        folder = tempfile.TemporaryDirectory(prefix="beamline-")
        try:
            runs = Runs(self._data_dir)
            uid = await asyncio.to_thread(_uid_of, runs, request.path_params["uid"])
            path = await make(runs, uid, Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        return FileResponse(
            path, filename=path.name, content_disposition_type="attachment", background=BackgroundTask(folder.cleanup)
        )

    async def _check(self, request: Request, _user: User) -> Response:
        return JSONResponse(await self._queue.check(await _json(request)))

    async def _queue_action(self, request: Request, user: User) -> Response:
        return JSONResponse(await self._queue.do(user, await _json(request)))


class Guarded:
    """Refuse what comes from elsewhere or is too large, and say in each answer what a browser must not do."""

    def __init__(self, app: Any, page: Page) -> None:
        self._app, self._page = app, page

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        socket = scope["type"] == "websocket"
        reason = self._page.refusal(dict(scope["headers"]), scope.get("method", ""), socket=socket)
        if reason and socket:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
            return
        if not socket:
            large = why_too_large(scope)
            if reason or large:
                status, text = (403, reason) if reason else large or (400, "")
                await JSONResponse({"detail": text}, status, headers=HEADERS)(scope, receive, send)
                return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self._app(scope, receive, send_guarded)


def _about(raw: Run) -> list[tuple[str, str]]:
    """Give what a run was to measure, in words."""
    block = raw.start.get(MEASUREMENT) or {}
    about = {
        "measured": local_time(raw.start["time"]),
        "edge": block.get("edge"),
        "energies (eV)": block.get("energy_regions"),
        "ended": (raw.stop or {}).get("exit_status") if raw.stop else "not yet",
        "why": (raw.stop or {}).get("reason"),
        "uid": raw.uid,
    }
    return [(key, str(value)) for key, value in about.items() if value]


def _panels(runs: Runs, entry: Entry, energy: str) -> list[Panel]:
    """Give the figures of a run with its newest reduction, or of a reduction."""
    raw, derived = load(runs, entry)
    is_stack = derived is not None and "stxm" in str(raw.measurement.get("technique"))
    panels = panels_of(raw, derived, **({"energy": int(energy)} if NUMBER.fullmatch(energy) and is_stack else {}))
    for run in (raw, derived):
        if run is not None:
            run.close()
    return panels


def _others(runs: Runs, entry: Entry) -> list[dict[str, str]]:
    """List what a run can be compared with: its earlier reductions, and the newest runs of its technique."""
    newest = runs.derived(entry)
    reductions = [one for one in runs.entries() if one.reduction_of == entry.uid and one != newest]
    technique = entry.start.get(MEASUREMENT, {}).get("technique")
    alike = [one for one in runs.raw() if one != entry and one.start.get(MEASUREMENT, {}).get("technique") == technique]
    made = [{"uid": one.uid, "name": f"this run, reduced {local_time(one.start['time'])}"} for one in reductions[::-1]]
    newest_first = alike[: -LISTED_RUNS - 1 : -1]
    return [*made, *({"uid": one.uid, "name": f"{shown_name(one)}, {sample_of(one.start)}"} for one in newest_first)]


def _name_beside(entry: Entry, other: Entry) -> str:
    """Name a run, or a reduction, in a figure beside another."""
    if entry.reduction_of or other.reduction_of:
        return f"reduced {local_time(entry.start['time'])[:16]}" if entry.reduction_of else "newest reduction"
    scan = entry.start.get("scan_id")
    return f"scan {scan}" if scan is not None else f"run {entry.uid[:8]}"


def _one_file(make: Callable[[Runs, str, Path], list[Path]], runs: Runs, uid: str, folder: Path) -> Path:
    """Make files of a run or an analysis in a folder; give the one, or an archive of them."""
    made = make(runs, uid, folder)
    if len(made) == 1:
        return made[0]
    return Path(shutil.make_archive(str(folder / uid[:8]), "zip", made[0].parent))


def _uid_of(runs: Runs, name: str) -> str:
    """Give the uid of the analysis, or else of the run, that has a name."""
    return (runs.find_pooled(name) or runs.find(name)).uid


def _listed(last: str) -> int:
    """Say how many runs or analyses are listed, of what was asked for."""
    return min(int(last), MOST_RUNS) if NUMBER.fullmatch(last) else LISTED_RUNS


def _style(asked: Mapping[str, str]) -> FigureStyle:
    """Read the style of figures for print; what is not given is as of the command line."""
    numbers: dict[str, float] = {}
    for name, default in (("width", FigureStyle.width), ("font_size", FigureStyle.font_size)):
        try:
            numbers[name] = float(asked.get(name, default))
        except ValueError as error:
            raise BeamlineError(f"{name}: {asked[name][:80]!r} is no number") from error
    return FigureStyle(
        format=asked.get("format", FigureStyle.format),  # type: ignore[arg-type]  # it checks these itself
        colours=asked.get("colours", FigureStyle.colours),  # type: ignore[arg-type]
        width=numbers["width"],
        font_size=numbers["font_size"],
    )


async def _json(request: Request) -> dict[str, Any]:
    try:
        asked = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise BeamlineError("expected JSON") from error
    if not isinstance(asked, dict):
        raise BeamlineError("expected an object of JSON")
    return asked


def _jsonable(value: Any) -> Any:
    """Make what JSON has of numpy's arrays and numbers; what is no number is null."""
    if isinstance(value, dict):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
