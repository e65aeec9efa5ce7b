"""How late the page is in a browser, and what fifty viewers cost a scan.

Run as ``python tests/benchmarks/bench_page.py``; some ten minutes, with Chromium. Late is from the time of an event,
when the engine has read the frame or the line, to the second frame that the browser paints after it was drawn. A frame
that was passed over for a newer one is not late; how many were shown is told.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from harness import Result, run
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from services import STARTED, serving, until
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from beamline.endstation.config import SIMULATED
from beamline.storage.runs import Runs
from callbacks.contract import Stream

SAMPLE = "LRNMC 311 mAh/g"
VIEWERS = 50
AT_SPEED = SIMULATED.read_text()
LARGE = AT_SPEED.replace("speed_up = 1000.0", "speed_up = 1000.0, frame_rows = 2048")
AS_IT_IS = AT_SPEED.replace("speed_up = 1000.0", "speed_up = 1.0")  # a line of 250 pixels of 1 ms takes 0.3 s
MAP = {"exposure_time": "900", "sample": SAMPLE, "edge": "O K", "dark_frames": "1"}
STACK = {"energies": "529, 531", "regions": "x=-2.5:2.5:0.02 y=-2.5:2.5:0.02", "sample": SAMPLE, "edge": "O K"}
CASES = (
    ("64 x 2048 frames", AT_SPEED, "rixs_map", MAP | {"regions": "526:545:0.25"}, 150.0),
    ("2048 x 2048 frames", LARGE, "rixs_map", MAP | {"regions": "526:545:0.5", "exposure_time": "1500"}, 400.0),
    ("250 x 250 images", AS_IT_IS, "stxm_stack", STACK | {"dwell": "0.001"}, 400.0),
)

# Notes what each message shows, and when the browser has painted it. The page's own listener draws in the same task.
NOTE = """
window.shown = [];
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...given) {
    super(...given);
    let newest = null;
    this.addEventListener("message", (event) => {
      if (typeof event.data !== "string") {
        const length = new DataView(event.data).getUint32(0, true);
        const head = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, length)));
        if (head.name === "raw") newest = { number: Number(head.title.match(/\\d+/)[0]) };
        if (head.name === "counts") {
          const [rows, columns] = head.arrays.values;
          const at = 4 + length;
          const values = new DataView(event.data, at, 4 * rows * columns);
          let lines = 0;
          for (let row = 0; row < rows; row++) if (!Number.isNaN(values.getFloat32(4 * row * columns, true))) lines++;
          newest = { number: (Number(head.title.match(/\\d+/)[0]) - 1) * rows + lines };
        }
      } else if (newest && JSON.parse(event.data).done) {
        const one = newest;
        newest = null;
        const painted = () => window.shown.push({ ...one, time: Date.now() / 1000 });
        requestAnimationFrame(() => requestAnimationFrame(painted));
      }
    });
  }
};
"""


def measured(service, plan, values):
    """Measure a plan by the queue; give the times of its events, s since 1970, shape (n,)."""
    session, runs = service.session("user"), Runs(service.folder)
    known = {entry.uid for entry in runs.raw()}
    answer = session.post("/api/queue", json={"do": "add", "plan": plan, "values": values}, timeout=60)
    assert answer.status_code == 200, answer.text
    until(lambda: session.post("/api/queue", json={"do": "start"}).status_code == 200, timeout=120)
    uid = until(lambda: next((entry.uid for entry in runs.raw() if entry.uid not in known), None))
    until(lambda: runs.load(runs.find(uid)).stop, timeout=600)
    until(lambda: (derived := runs.load_with_derived(uid)[1]) is not None and derived.stop, timeout=120)
    return runs.load(runs.find(uid)).streams[Stream.PRIMARY].time


@contextmanager
def running(endstation):
    """Run the service of an endstation in a folder of its own."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as path, serving(Path(path), endstation=endstation) as (service, _process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in STARTED), timeout=120)
        yield service


@contextmanager
def watched(service):
    """Open the page in a browser; give a function that tells what it has shown, and when."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.add_init_script(NOTE)
        page.goto(service.address("page"))
        page.fill("#key", service.key("viewer"))
        page.click("text=Sign in")
        page.wait_for_selector("#tab-live")
        yield lambda: page.evaluate("window.shown")
        browser.close()


def lateness():
    """Measure how late what is shown is."""
    for name, endstation, plan, values, aim in CASES:
        with running(endstation) as service, watched(service) as shown:
            times = measured(service, plan, values)
            found = {one["number"]: one["time"] for one in reversed(shown())}  # the first time that it was shown
        late = 1000 * np.array([found[k] - times[k - 1] for k in sorted(found) if 1 < k <= len(times)])
        middle, high = np.quantile(late, (0.5, 0.95))
        note = f"95 % {high:.0f} ms; {len(late)} of {len(times)} shown, one in {np.median(np.diff(times)):.2f} s"
        yield Result(f"page: {name}, event to pixel", middle / 1000, "s", f"aim of {aim:.0f} ms", aim / middle, note)


async def _view(connection, took, ending):
    async with connection as socket:
        async for said in socket:
            took(len(said))
            if isinstance(said, str) and json.loads(said).get("done"):
                await socket.send("drawn")
            if ending.is_set():
                return


def _add(taken, number, size):
    taken[number] += size


@contextmanager
def viewed(service, number):
    """Let a number of viewers watch, in this process; give how many bytes each has taken."""
    session, ending, taken = service.session("viewer"), threading.Event(), [0] * number
    origin = service.address("page")
    cookie = "; ".join(f"{name}={value}" for name, value in session.cookies.items())

    async def all_of_them():
        address, headers = origin.replace("http", "ws") + "/live", {"cookie": cookie}
        views = []
        for k in range(number):
            connection = connect(address, origin=origin, additional_headers=headers, max_size=None)
            views.append(_view(connection, partial(_add, taken, k), ending))
        dropped = [one for one in await asyncio.gather(*views, return_exceptions=True) if one is not None]
        assert not [one for one in dropped if not isinstance(one, WebSocketException)], dropped
        assert not dropped, f"{len(dropped)} were dropped"

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    yield taken
    ending.set()
    thread.join()


def viewers():
    """Measure the rate of scans with viewers against that with none, in turn."""
    values = MAP | {"regions": "526:545:0.5", "exposure_time": "300"}
    with running(AT_SPEED) as service:
        measured(service, "rixs_map", values)
        rates = {0: [], VIEWERS: []}
        for number in (0, VIEWERS) * 3:
            with viewed(service, number) as taken:
                rates[number].append(1 / np.mean(np.diff(measured(service, "rixs_map", values))))
    none, many = (float(np.median(rates[number])) for number in (0, VIEWERS))
    note = f"each viewer took {np.median(taken) / 1e6:.0f} MB, the least {min(taken) / 1e6:.0f}"
    yield Result(f"page: frames a second, {VIEWERS} viewers", many, "1/s", "no viewer", many / none, note)


if __name__ == "__main__":
    run(lambda: (result for measure in (lateness, viewers) for result in measure()))
