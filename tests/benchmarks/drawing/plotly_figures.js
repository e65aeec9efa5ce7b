// The figures of a map by Plotly.js: images with their marks, curves with bands and bars; zoom, pointer and axes are its own.
/* global Plotly */
const COLOURS = { intensity: "Inferno", grey: "Greys", fraction: "Portland", diverging: "RdBu" };
const named = (axis) => (axis.unit ? `${axis.label} (${axis.unit})` : axis.label);

function traces(panel) {
  const { data } = panel;
  if (panel.kind === "lines") {
    return panel.curves.flatMap((curve, k) => {
      const [x, y, sigma] = [data[`x${k}`], data[`y${k}`], data[`s${k}`]];
      const one = { x, y, name: curve.name, type: "scatter", mode: curve.style === "points" ? "markers" : "lines" };
      if (sigma && curve.style === "points") return [{ ...one, error_y: { array: sigma } }];
      if (!sigma) return [one];
      const edge = (sign) => ({ x, y: y.map((value, i) => value + sign * sigma[i]), mode: "lines", line: { width: 0 }, showlegend: false, hoverinfo: "skip" });
      return [edge(-1), { ...edge(1), fill: "tonexty" }, one];
    });
  }
  const columns = panel.arrays.values[1];
  const scaled = panel.gamma === 1 ? data.values : data.values.map((value) => Math.max(0, value) ** panel.gamma);
  const [low, high] = panel.limits.map((value) => (panel.gamma === 1 ? value : Math.max(0, value) ** panel.gamma));
  const rows = Array.from({ length: panel.arrays.values[0] }, (_, row) => scaled.subarray(row * columns, (row + 1) * columns));
  const made = [{ type: "heatmap", x: data.x, y: data.y, z: rows, zmin: low, zmax: high, colorscale: COLOURS[panel.colours], reversescale: panel.colours === "grey" }];
  if (panel.diagonal) made.push({ x: data.y, y: data.y, mode: "lines", line: { dash: "dash", color: "white" }, showlegend: false });
  if (data.marks) {
    const at = (axis, from) => Array.from({ length: data.marks.length / 2 }, (_, k) => data[axis][Math.round(data.marks[2 * k + from])]);
    made.push({ x: at("x", 1), y: at("y", 0), mode: "markers", marker: { symbol: "square-open", color: "red" }, showlegend: false });
  }
  return made;
}

export class Figures {
  constructor(element) {
    this.element = element;
    this.figures = new Map();
  }

  take(panel) {
    if (!this.figures.has(panel.name)) {
      const holder = document.createElement("div");
      this.figures.set(panel.name, holder);
      this.element.append(holder);
    }
    const layout = { title: { text: panel.title }, height: 330, xaxis: { title: { text: named(panel.x) } }, yaxis: { title: { text: named(panel.y) } } };
    if (panel.diagonal) layout.xaxis.range = [panel.data.x[0], panel.data.x.at(-1)];
    return Plotly.react(this.figures.get(panel.name), traces(panel), layout, { responsive: true });
  }
}
