"""The live view of a map by Starlette and a drawing of figures in the browser: ours with uPlot, or Plotly.js.

Run as ``python page_app.py uplot|plotly PORT STAGES TOLD``; see `bench_drawing`.
"""

import asyncio
import json
import sys
import time
from importlib.resources import files
from pathlib import Path

import plotly
import uplot
import uvicorn
from stages import INTERVAL, stages_of
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect

DRAWN_BY = {
    "uplot": (["/uplot/uPlot.iife.js"], "/static/figures.js"),
    "plotly": (["/plotly/plotly.min.js"], "/here/plotly_figures.js"),
}
PAGE = """<!doctype html><meta charset="utf-8"><title>map</title>
<link rel="stylesheet" href="/uplot/uPlot.min.css"><link rel="stylesheet" href="/static/style.css">
{scripts}<script type="module" src="/here/viewer.js" data-figures="{figures}"></script>
<div id="live-figures" class="figures"></div>"""


def main(kind, port, stages, told):
    """Serve the stages, one after the other, in a ring."""
    packed = stages_of(Path(stages))
    now = {"number": 0}
    scripts, figures = DRAWN_BY[kind]
    text = PAGE.format(scripts="".join(f'<script src="{one}"></script>' for one in scripts), figures=figures)

    async def tick():
        with Path(told).open("a") as log:
            while True:
                await asyncio.sleep(INTERVAL)
                now["number"] += 1
                log.write(f"{now['number']} {time.time()}\n")
                log.flush()

    async def live(socket):
        await socket.accept()
        seen = 0
        try:
            while True:
                while now["number"] == seen:
                    await asyncio.sleep(0.005)
                seen = now["number"]
                for panel in packed[seen % len(packed)]:
                    await socket.send_bytes(panel)
                await socket.send_text(json.dumps({"done": seen}))
                await socket.receive_text()
        except WebSocketDisconnect:
            return

    async def page(_request):
        return HTMLResponse(text)

    static = Path(str(files("beamline.serve.page") / "static"))
    app = Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/live", live),
            Mount("/uplot", StaticFiles(directory=Path(uplot.__file__).parent / "static")),
            Mount("/plotly", StaticFiles(directory=Path(plotly.__file__).parent / "package_data")),
            Mount("/static", StaticFiles(directory=static)),
            Mount("/here", StaticFiles(directory=Path(__file__).parent)),
        ]
    )

    async def serve():
        ticking = asyncio.create_task(tick())
        await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning")).serve()
        ticking.cancel()

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
