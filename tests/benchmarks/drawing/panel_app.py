"""The live view of a map by Panel and Bokeh: figures, zoom, pointer and axes are theirs.

Run as ``python panel_app.py PORT STAGES TOLD``; see `bench_drawing`. Bokeh draws images on even axes only.
"""

import sys
import time
from pathlib import Path

import numpy as np
import panel
from bokeh.models import Band, ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Whisker
from bokeh.plotting import figure
from stages import INTERVAL, unpacked_stages_of

PALETTES = {"intensity": "Inferno256", "grey": "Greys256", "fraction": "Cividis256", "diverging": "RdBu11"}


def named(axis):
    """Give the label of an axis with its unit."""
    return f"{axis['label']} ({axis['unit']})" if axis["unit"] else axis["label"]


class Drawn:
    """One figure, made with the first panel of its name."""

    def __init__(self, head, arrays):
        self.figure = figure(
            height=330,
            sizing_mode="stretch_width",
            title=head["title"],
            x_axis_label=named(head["x"]),
            y_axis_label=named(head["y"]),
            output_backend="canvas",
        )
        if head["kind"] == "image":
            self.mapper = LinearColorMapper(palette=PALETTES[head["colours"]], nan_color="gray")
            self.source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
            self.marks = ColumnDataSource({"x": [], "y": []})
            self.figure.image("image", "x", "y", "dw", "dh", source=self.source, color_mapper=self.mapper)
            self.figure.scatter("x", "y", source=self.marks, marker="square", line_color="red", fill_color=None, size=6)
            self.figure.add_layout(ColorBar(color_mapper=self.mapper), "right")
            self.figure.add_tools(HoverTool(tooltips=[("x", "$x"), ("y", "$y"), ("value", "@image")]))
        else:
            self.sources = []
            for curve in head["curves"]:
                source = ColumnDataSource({"x": [], "y": [], "low": [], "high": []})
                self.sources.append(source)
                if curve["style"] == "points":
                    self.figure.scatter("x", "y", source=source, legend_label=curve["name"])
                    self.figure.add_layout(Whisker(base="x", lower="low", upper="high", source=source))
                else:
                    self.figure.line("x", "y", source=source, legend_label=curve["name"])
                    self.figure.add_layout(Band(base="x", lower="low", upper="high", source=source, fill_alpha=0.25))
            self.figure.add_tools(HoverTool())
        self.take(head, arrays)

    def take(self, head, arrays):
        """Show other data."""
        self.figure.title.text = head["title"]
        if head["kind"] == "image":
            x, y, power = arrays["x"], arrays["y"], head["gamma"]
            values = arrays["values"] if power == 1 else np.maximum(arrays["values"], 0) ** power
            self.mapper.low, self.mapper.high = (
                value if power == 1 else max(0.0, value) ** power for value in head["limits"]
            )
            span = {"x": [x[0]], "y": [y[0]], "dw": [np.ptp(x) or 1.0], "dh": [np.ptp(y) or 1.0]}
            self.source.data = {"image": [values]} | span
            if "marks" in arrays:
                rows, columns = np.rint(arrays["marks"]).astype(int).T
                self.marks.data = {"x": x[columns], "y": y[rows]}
            return
        for k, source in enumerate(self.sources[: len(head["curves"])]):
            y = arrays[f"y{k}"]
            sigma = arrays.get(f"s{k}", np.zeros_like(y))
            source.data = {"x": arrays[f"x{k}"], "y": y, "low": y - sigma, "high": y + sigma}


def main(port, stages, told):
    """Serve the stages, one after the other, in a ring."""
    panels = unpacked_stages_of(Path(stages))
    begun = time.time()
    said = set()

    def view():
        drawn = {head["name"]: Drawn(head, arrays) for head, arrays in panels[0]}
        seen = {"number": 0}

        def update():
            number = int((time.time() - begun) / INTERVAL)
            if number == seen["number"]:
                return
            seen["number"] = number
            if number not in said:
                said.add(number)
                with Path(told).open("a") as log:
                    log.write(f"{number} {begun + number * INTERVAL}\n")
            for head, arrays in panels[number % len(panels)]:
                if head["name"] in drawn:
                    drawn[head["name"]].take(head, arrays)
            drawn["raw"].figure.name = str(number)

        panel.state.add_periodic_callback(update, period=10)
        return panel.FlexBox(*(one.figure for one in drawn.values()))

    panel.serve(view, port=port, show=False, websocket_max_message_size=2**28, threaded=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
