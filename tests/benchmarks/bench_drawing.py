"""The live view of a map drawn by uPlot and a canvas of our own, by Plotly.js, and by Panel with Bokeh.

Run as ``python tests/benchmarks/bench_drawing.py``; some five minutes, with Chromium. Eight figures of a map of frames
of 64 x 2048 pixels change five times a second. Late is from the time that they change to the second frame that the
browser paints after they were drawn; of Bokeh, which does not tell when it has drawn, after its document has changed,
which is before. Decision 0011 rests on it.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
from harness import RESULTS, Result, run
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "drawing"))

from stages import INTERVAL, make_stages

HERE = Path(__file__).parent / "drawing"
SECONDS = 20.0
PORT = 18765
OURS = "uPlot and a canvas of our own"
KINDS = {
    OURS: [str(HERE / "page_app.py"), "uplot"],
    "Plotly.js": [str(HERE / "page_app.py"), "plotly"],
    "Panel and Bokeh": [str(HERE / "panel_app.py")],
}
WHEN_BOKEH_CHANGED = """
window.shown = [];
let last = "";
const look = () => {
  const models = window.Bokeh?.documents?.[0]?._all_models ?? new Map();
  for (const model of models.values()) {
    if (/^\\d+$/.test(model.name ?? "") && model.name !== last) {
      const number = Number((last = model.name));
      requestAnimationFrame(() => requestAnimationFrame(() => window.shown.push([number, Date.now() / 1000])));
    }
  }
  requestAnimationFrame(look);
};
look();
"""


def drawn(kind, stages, folder):
    """Watch one in the browser; give how late each change was shown, s, memory with one and four tabs, and of a tab."""
    told = folder / "told.txt"
    program, *arguments = KINDS[kind]
    with subprocess.Popen([sys.executable, program, *arguments, str(PORT), str(stages), str(told)]) as server:
        try:
            address = f"http://127.0.0.1:{PORT}"
            _wait(address)
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("chromium-browser")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                pages = []
                for _ in range(4):
                    page = browser.new_page(viewport={"width": 1300, "height": 1000})
                    page.goto(address)
                    if kind == "Panel and Bokeh":
                        page.evaluate(WHEN_BOKEH_CHANGED)
                    page.wait_for_function("window.shown?.length > 3", timeout=60_000)
                    if not pages:
                        page.evaluate("window.shown.length = 0")
                        page.wait_for_timeout(1000 * SECONDS)
                        shown = dict(reversed(page.evaluate("window.shown")))
                        heap = page.evaluate("performance.memory.usedJSHeapSize")
                        one = psutil.Process(server.pid).memory_info().rss
                        page.screenshot(path=RESULTS.with_name(f"{kind}.png"), full_page=True)
                    pages.append(page)
                pages[-1].wait_for_timeout(5000)
                four = psutil.Process(server.pid).memory_info().rss
                browser.close()
        finally:
            server.terminate()
    due = dict(map(float, line.split()) for line in told.read_text().splitlines())
    return np.array([shown[k] - due[k] for k in sorted(shown) if k in due]), one, four, heap


def _wait(address):
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{address} does not answer")


def drawings():
    """Measure the three in turn."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        stages = Path(name) / "stages"
        stages.mkdir()
        make_stages(stages)
        found = {}
        for number, kind in enumerate(KINDS):
            folder = Path(name) / str(number)
            folder.mkdir()
            found[kind] = drawn(kind, stages, folder)
    ours = np.median(found[OURS][0])
    for kind, (late, one, four, heap) in found.items():
        middle, high = np.quantile(late, (0.5, 0.95))
        note = (
            f"95 % {1000 * high:.0f} ms; {len(late) / SECONDS:.1f} of {1 / INTERVAL:.0f} a second shown;"
            f" server {one / 1e6:.0f} MB, with four tabs {four / 1e6:.0f}; heap of a tab {heap / 1e6:.0f} MB"
        )
        yield Result(f"drawing: {kind}, change to pixel", middle, "s", OURS, ours / middle, note)


if __name__ == "__main__":
    run(drawings)
