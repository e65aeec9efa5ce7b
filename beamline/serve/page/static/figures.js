// Figures of a run: images on a canvas with axes, pointer values and cuts; curves by uPlot.
/* global uPlot */
import { ask } from "./dom.js";

const STOPS = {
  intensity: ["000004", "160b39", "420a68", "6a176e", "932667", "bc3754", "dd513a", "f37819", "fca50a", "f6d746", "fcffa4"],
  grey: ["101010", "f4f4f4"],
  diverging: ["0b3c7d", "4a90c4", "b7d7ea", "f7f7f7", "f5c3a0", "d1603d", "7d1d12"],
  safe: ["e66100", "f2a35e", "e9e4d4", "7fa8d1", "1a5fb4"],
  text: ["ff0000", "ffff00", "00ff00"],
};
const NOT_MEASURED = [128, 128, 128, 70];
const MARGIN = { left: 64, right: 74, top: 10, bottom: 42 };
const SIZE = 12;

const settings = { fraction: localStorage.getItem("fraction") || "safe" };
const tables = {};

export function setFractionColours(name) {
  settings.fraction = name;
  localStorage.setItem("fraction", name);
}

function table(name) {
  const key = name === "fraction" ? settings.fraction : name;
  if (!tables[key]) {
    const stops = STOPS[key].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    tables[key] = Array.from({ length: 256 }, (_, level) => {
      const place = (level / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, channel) => Math.round(value + (stops[low + 1][channel] - value) * (place - low)));
    });
  }
  return tables[key];
}

// The length of the head, the head in JSON, the arrays one after the other in float32.
export function unpack(buffer, from = 0) {
  const length = new DataView(buffer, from, 4).getUint32(0, true);
  const panel = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, from + 4, length)));
  let at = from + 4 + length;
  panel.data = {};
  for (const [name, shape] of Object.entries(panel.arrays)) {
    const count = shape.reduce((product, side) => product * side, 1);
    panel.data[name] = at % 4 ? new Float32Array(buffer.slice(at, at + 4 * count)) : new Float32Array(buffer, at, count);
    at += 4 * count;
  }
  return panel;
}

export function unpackAll(buffer) {
  const panels = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = new DataView(buffer, at, 4).getUint32(0, true);
    panels.push(unpack(buffer.slice(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return panels;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function written(value, digits = 4) {
  if (!Number.isFinite(value)) return "not measured";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

// Ticks are short: 7.8e6, not 7800000; with as many digits as tell one from the next.
function tick(value, step) {
  const size = Math.abs(value);
  if (size === 0 || (size < 1e5 && size >= 1e-3)) return String(Number(value.toPrecision(6)));
  const digits = Number.isFinite(step) ? Math.ceil(Math.log10(size / step) - 1e-6) : 2;
  return value.toExponential(Math.min(6, Math.max(2, digits))).replace(/\.?0+e/, "e").replace("e+", "e");
}

function tickTexts(values) {
  const shown = values.filter((value) => value !== null);
  const step = shown.length > 1 ? Math.min(...shown.slice(1).map((value, k) => value - shown[k])) : NaN;
  return values.map((value) => (value === null ? "" : tick(value, step)));
}

const unit = (axis) => (axis.unit ? ` ${axis.unit}` : "");
const named = (axis) => (axis.unit ? `${axis.label} (${axis.unit})` : axis.label);

function ticks(low, high, pixels) {
  const wanted = Math.max(2, Math.floor(pixels / 70));
  const raw = Math.abs(high - low) / wanted || 1;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((each) => each * size >= raw) * size;
  const found = [];
  for (let value = Math.ceil(Math.min(low, high) / step) * step; value <= Math.max(low, high) + step * 1e-6; value += step) found.push(value);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// Edges of the pixels whose centres are given.
function edges(centres) {
  const n = centres.length;
  if (n === 1) return Float64Array.of(centres[0] - 0.5, centres[0] + 0.5);
  const found = new Float64Array(n + 1);
  for (let i = 1; i < n; i++) found[i] = (centres[i - 1] + centres[i]) / 2;
  found[0] = centres[0] - (found[1] - centres[0]);
  found[n] = centres[n - 1] + (centres[n - 1] - found[n - 1]);
  return found;
}

function find(bounds, value) {
  const up = bounds[bounds.length - 1] > bounds[0];
  if (up ? value < bounds[0] || value > bounds[bounds.length - 1] : value > bounds[0] || value < bounds[bounds.length - 1]) return -1;
  let low = 0;
  let high = bounds.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (up ? bounds[middle] <= value : bounds[middle] >= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

class Figure {
  constructor(kind) {
    this.element = document.createElement("figure");
    this.title = document.createElement("h3");
    this.body = document.createElement("div");
    this.caption = document.createElement("figcaption");
    this.element.append(this.title, this.body, this.caption);
    this.element.dataset.kind = kind;
  }

  take(panel) {
    this.panel = panel;
    this.title.textContent = panel.title;
    this.caption.textContent = panel.note || "";
    this.element.dataset.name = panel.name;
    this.draw();
  }
}

export class ImageFigure extends Figure {
  constructor(onRegion) {
    super("image");
    this.onRegion = onRegion;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "plane";
    this.canvas.tabIndex = 0;
    this.readout = document.createElement("output");
    this.readout.className = "readout";
    this.cuts = document.createElement("div");
    this.body.append(this.canvas, this.readout, this.cuts);
    this.buffer = document.createElement("canvas");
    this.cursor = null;
    this.box = null;
    this.listen();
    new ResizeObserver(() => this.panel && this.draw()).observe(this.body);
  }

  take(panel) {
    this.xEdges = edges(panel.data.x);
    this.yEdges = edges(panel.data.y);
    if (this.whole?.join() !== [this.xEdges.length, this.yEdges.length].join()) this.view = null;
    this.whole = [this.xEdges.length, this.yEdges.length];
    super.take(panel);
    if (this.lastCut) this.cut(this.lastCut);
    this.tell();
  }

  // A region is drawn by hand where x and y are alike, and its spectrum is asked for; elsewhere a box is cut through.
  get byHand() {
    return this.onRegion && this.panel.equal && !this.panel.name.startsWith("other-"); // whose run is another
  }

  get range() {
    const [x, y] = [this.xEdges, this.yEdges];
    const whole = (bounds) => [Math.min(bounds[0], bounds[bounds.length - 1]), Math.max(bounds[0], bounds[bounds.length - 1])];
    const first = this.all ? {} : { x: this.panel.x.shown, y: this.panel.y.shown };
    return this.view || { x: first.x || whole(x), y: first.y || whole(y) };
  }

  draw() {
    const { canvas, panel } = this;
    const width = Math.max(200, this.body.clientWidth);
    const range = this.range;
    const inner = width - MARGIN.left - MARGIN.right;
    let height = Math.min(380, Math.max(170, inner * 0.62));
    if (panel.equal) height = Math.min(520, Math.max(60, (inner * (range.y[1] - range.y[0])) / (range.x[1] - range.x[0])));
    else if (panel.arrays.values[0] <= 80 && panel.y.unit === "pixel") height = 150;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round((height + MARGIN.top + MARGIN.bottom) * scale);
    canvas.style.height = `${height + MARGIN.top + MARGIN.bottom}px`;
    this.area = { x: MARGIN.left, y: MARGIN.top, width: inner, height };
    if (panel.equal) this.area.width = Math.min(inner, (height * (range.x[1] - range.x[0])) / (range.y[1] - range.y[0]));
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height + MARGIN.top + MARGIN.bottom);
    this.paint(context, scale);
    this.marks(context);
    this.axes(context);
    this.bar(context);
    this.overlay(context);
    const label = `${panel.title}: ${panel.scale.label} from ${written(panel.limits[0], 3)} to ${written(panel.limits[1], 3)}${unit(panel.scale)}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${label}; arrow keys move the cursor`);
  }

  paint(context, scale) {
    const { panel, area, range } = this;
    const [width, height] = [Math.max(1, Math.round(area.width * scale)), Math.max(1, Math.round(area.height * scale))];
    this.buffer.width = width;
    this.buffer.height = height;
    const pixels = this.buffer.getContext("2d").createImageData(width, height);
    const columns = Int32Array.from({ length: width }, (_, i) => find(this.xEdges, range.x[0] + ((i + 0.5) / width) * (range.x[1] - range.x[0])));
    const { values, brightness } = panel.data;
    const n = panel.arrays.values[1];
    const [low, high] = panel.limits;
    const colours = table(panel.colours);
    for (let j = 0, at = 0; j < height; j++) {
      const row = find(this.yEdges, range.y[1] - ((j + 0.5) / height) * (range.y[1] - range.y[0]));
      for (let i = 0; i < width; i++, at += 4) {
        const place = row < 0 || columns[i] < 0 ? -1 : row * n + columns[i];
        const value = place < 0 ? NaN : values[place];
        if (Number.isNaN(value)) {
          pixels.data.set(NOT_MEASURED, at);
          continue;
        }
        const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
        const rgb = colours[Math.round(255 * (panel.gamma === 1 ? share : share ** panel.gamma))];
        const light = brightness ? Math.min(1, Math.max(0, brightness[place])) : 1;
        pixels.data[at] = rgb[0] * light;
        pixels.data[at + 1] = rgb[1] * light;
        pixels.data[at + 2] = rgb[2] * light;
        pixels.data[at + 3] = 255;
      }
    }
    this.buffer.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.buffer, area.x, area.y, area.width, area.height);
  }

  toX(value) {
    const { x } = this.range;
    return this.area.x + ((value - x[0]) / (x[1] - x[0])) * this.area.width;
  }

  toY(value) {
    const { y } = this.range;
    return this.area.y + ((y[1] - value) / (y[1] - y[0])) * this.area.height;
  }

  inside(context, draw) {
    context.save();
    context.beginPath();
    context.rect(this.area.x, this.area.y, this.area.width, this.area.height);
    context.clip();
    draw();
    context.restore();
  }

  marks(context) {
    const { panel } = this;
    const marks = panel.data.marks;
    this.inside(context, () => {
      if (marks) {
        context.strokeStyle = "#ff3b30";
        context.lineWidth = 1.2;
        for (let k = 0; k < marks.length; k += 2) {
          const [row, column] = [Math.round(marks[k]), Math.round(marks[k + 1])];
          context.strokeRect(this.toX(panel.data.x[column]) - 3, this.toY(panel.data.y[row]) - 3, 6, 6);
        }
      }
      if (panel.diagonal) {
        context.strokeStyle = "#ffffffb0";
        context.setLineDash([5, 4]);
        context.beginPath();
        const [a, b] = this.range.y;
        context.moveTo(this.toX(a), this.toY(a));
        context.lineTo(this.toX(b), this.toY(b));
        context.stroke();
      }
    });
  }

  axes(context) {
    const { panel, area, range } = this;
    context.strokeStyle = colour("--soft");
    context.fillStyle = colour("--ink");
    context.lineWidth = 1;
    context.setLineDash([]);
    context.font = `${SIZE}px system-ui, sans-serif`;
    context.strokeRect(area.x, area.y, area.width, area.height);
    context.textAlign = "center";
    context.textBaseline = "top";
    const across = ticks(...range.x, area.width);
    for (const value of across.values) {
      context.fillText(value.toFixed(across.digits), this.toX(value), area.y + area.height + 6);
      context.strokeRect(this.toX(value), area.y + area.height, 0, 4);
    }
    context.fillText(named(panel.x), area.x + area.width / 2, area.y + area.height + 24);
    context.textAlign = "right";
    context.textBaseline = "middle";
    const up = ticks(...range.y, area.height * 1.4);
    for (const value of up.values) {
      context.fillText(value.toFixed(up.digits), area.x - 7, this.toY(value));
      context.strokeRect(area.x - 4, this.toY(value), 4, 0);
    }
    context.save();
    context.translate(13, area.y + area.height / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(named(panel.y), 0, 0);
    context.restore();
  }

  bar(context) {
    const { panel, area } = this;
    const [left, width] = [area.x + area.width + 12, 12];
    const colours = table(panel.colours);
    for (let j = 0; j < area.height; j++) {
      const share = 1 - j / area.height;
      const [r, g, b] = colours[Math.round(255 * (panel.gamma === 1 ? share : share ** panel.gamma))];
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fillRect(left, area.y + j, width, 1.5);
    }
    context.fillStyle = colour("--ink");
    context.textAlign = "left";
    context.textBaseline = "middle";
    const [low, high] = panel.limits;
    for (const share of [0, 0.5, 1]) {
      context.fillText(written(low + share * (high - low), 2), left + width + 4, area.y + Math.min(area.height - 5, Math.max(5, (1 - share) * area.height)));
    }
  }

  overlay(context) {
    this.inside(context, () => {
      context.strokeStyle = colour("--accent");
      context.lineWidth = 1.5;
      if (this.box && this.byHand) {
        context.beginPath();
        this.box.path.forEach(([x, y]) => context.lineTo(this.toX(x), this.toY(y)));
        context.closePath();
        context.stroke();
      } else if (this.box) {
        const [a, b] = [this.box.path[0], this.box.path[this.box.path.length - 1]];
        context.strokeRect(this.toX(a[0]), this.toY(a[1]), this.toX(b[0]) - this.toX(a[0]), this.toY(b[1]) - this.toY(a[1]));
      }
      if (this.cursor) {
        const [x, y] = this.cursor;
        context.strokeStyle = "#00e5ff";
        context.beginPath();
        context.moveTo(this.toX(x), this.area.y);
        context.lineTo(this.toX(x), this.area.y + this.area.height);
        context.moveTo(this.area.x, this.toY(y));
        context.lineTo(this.area.x + this.area.width, this.toY(y));
        context.stroke();
      }
    });
  }

  place(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const { x, y } = this.range;
    return [
      x[0] + ((event.clientX - bounds.left - this.area.x) / this.area.width) * (x[1] - x[0]),
      y[1] - ((event.clientY - bounds.top - this.area.y) / this.area.height) * (y[1] - y[0]),
    ];
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.box = { path: [this.place(event)], moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      this.cursor = this.place(event);
      if (this.box && event.buttons) {
        this.box.path.push(this.cursor);
        this.box.moved = true;
      }
      this.tell();
      this.draw();
    });
    canvas.addEventListener("pointerup", () => {
      if (this.box?.moved && this.box.path.length > 2) {
        if (this.byHand) this.onRegion(this.panel, this.pixels(this.box.path));
        else this.cut(this.box.path);
      } else {
        this.box = this.lastCut = null;
        this.cuts.replaceChildren();
      }
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      if (document.activeElement !== canvas) this.cursor = null;
      this.tell();
      this.draw();
    });
    canvas.addEventListener("dblclick", () => {
      this.back();
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      this.zoom(this.place(event), (event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // To what was shown at first; from there to all there is, and back.
  back() {
    if (this.view) this.view = null;
    else this.all = !this.all;
  }

  zoom([x, y], factor) {
    const range = this.range;
    const about = (span, at) => span.map((value) => at + (value - at) * factor);
    this.view = { x: about(range.x, x), y: about(range.y, y) };
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const { x, y } = this.range;
    this.cursor ||= [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
    if (steps) {
      const many = event.shiftKey ? 10 : 1;
      const step = (bounds) => Math.abs(bounds[bounds.length - 1] - bounds[0]) / (bounds.length - 1);
      this.cursor = [this.cursor[0] + many * steps[0] * step(this.xEdges), this.cursor[1] + many * steps[1] * step(this.yEdges)];
    } else if (event.key === "+" || event.key === "-") this.zoom(this.cursor, event.key === "+" ? 0.8 : 1.25);
    else if (event.key === "0" || event.key === "Escape") this.back();
    else return;
    event.preventDefault();
    this.tell();
    this.draw();
  }

  // Value under the pointer, as it is in the data; of an image that was binned, the mean of the pixels.
  tell() {
    const { panel } = this;
    if (!this.cursor) {
      this.readout.textContent = "";
      return;
    }
    const [column, row] = [find(this.xEdges, this.cursor[0]), find(this.yEdges, this.cursor[1])];
    if (column < 0 || row < 0) {
      this.readout.textContent = "";
      return;
    }
    const value = panel.data.values[row * panel.arrays.values[1] + column];
    const binned = panel.binned.join() === "1,1" ? "" : ` (mean of ${panel.binned[0]} × ${panel.binned[1]} pixels)`;
    this.readout.textContent = `${panel.x.label} ${written(panel.data.x[column], 6)}${unit(panel.x)}, ${panel.y.label} ${written(panel.data.y[row], 6)}${unit(panel.y)}: ${written(value, 6)}${Number.isFinite(value) ? unit(panel.scale) : ""}${binned}`;
    Object.assign(this.readout.dataset, { row, column, value });
  }

  pixels(path) {
    return path.map(([x, y]) => {
      const limited = (bounds, value) => Math.min(Math.max(value, Math.min(bounds[0], bounds[bounds.length - 1])), Math.max(bounds[0], bounds[bounds.length - 1]));
      return [find(this.yEdges, limited(this.yEdges, y)), find(this.xEdges, limited(this.xEdges, x))];
    });
  }

  // Cuts through a box: its mean along y against x, and along x against y.
  cut(path) {
    this.lastCut = path;
    const { panel } = this;
    const corners = this.pixels([path[0], path[path.length - 1]]);
    const [top, bottom] = corners.map(([row]) => row).sort((a, b) => a - b);
    const [left, right] = corners.map(([, column]) => column).sort((a, b) => a - b);
    const n = panel.arrays.values[1];
    const mean = (count, inner, at) => Float32Array.from({ length: count }, (_, i) => {
      let [sum, seen] = [0, 0];
      for (let j = 0; j < inner; j++) {
        const value = panel.data.values[at(i, j)];
        if (Number.isFinite(value)) [sum, seen] = [sum + value, seen + 1];
      }
      return seen ? sum / seen : NaN;
    });
    const rows = bottom - top + 1;
    const columns = right - left + 1;
    const across = mean(columns, rows, (i, j) => (top + j) * n + left + i);
    const up = mean(rows, columns, (i, j) => (top + i) * n + left + j);
    const curve = (name, axis, from, count, values, other, a, b) => ({
      name, kind: "lines", title: `cut at ${other.label} ${written(Math.min(a, b), 5)} to ${written(Math.max(a, b), 5)}${unit(other)}`, note: "",
      x: axis, y: panel.scale, curves: [{ name: "mean", style: "line" }], log: false,
      data: { x0: panel.data[axis === panel.x ? "x" : "y"].slice(from, from + count), y0: values },
    });
    const shown = [];
    if (columns > 2) shown.push(curve("cut-x", panel.x, left, columns, across, panel.y, panel.data.y[top], panel.data.y[bottom]));
    if (rows > 2) shown.push(curve("cut-y", panel.y, top, rows, up, panel.x, panel.data.x[left], panel.data.x[right]));
    const figures = shown.map((one) => {
      const figure = new LinesFigure();
      this.cuts.append(figure.element);
      figure.take(one);
      return figure.element;
    });
    this.cuts.replaceChildren(...figures);
  }
}

export class LinesFigure extends Figure {
  constructor() {
    super("lines");
    this.holder = document.createElement("div");
    this.body.append(this.holder);
    new ResizeObserver(() => this.plot && this.plot.setSize({ width: Math.max(200, this.body.clientWidth), height: 260 })).observe(this.body);
  }

  get shape() {
    const { x, y, curves, log } = this.panel;
    return JSON.stringify([x, y, curves, log, settings, matchMedia("(prefers-color-scheme: dark)").matches]);
  }

  draw() {
    const { panel } = this;
    const joined = panel.curves.length
      ? uPlot.join(panel.curves.map((_, k) => [Array.from(panel.data[`x${k}`]), Array.from(panel.data[`y${k}`], (value) => (Number.isFinite(value) ? value : null))]))
      : [[]];
    if (this.plot && this.drawn === this.shape) {
      this.plot.setData(joined);
      return;
    }
    this.plot?.destroy();
    this.drawn = this.shape;
    const ink = colour("--ink");
    const axis = (of, size) => ({
      label: named(of), stroke: ink, grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid") }, size, labelSize: 22,
      font: "12px system-ui", labelFont: "12px system-ui", incrs: of.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] : undefined, values: (_plot, values) => tickTexts(values),
    });
    this.plot = new uPlot(
      {
        width: Math.max(200, this.body.clientWidth),
        height: 260,
        cursor: { drag: { x: true, y: false } },
        scales: { x: { time: false, range: (_plot, low, high) => (low === null ? [0, 1] : low === high ? [low - 1, high + 1] : [low, high]) }, y: { distr: panel.log ? 3 : 1, range: panel.log ? undefined : (_plot, low, high) => this.limits(low, high) } },
        axes: [axis(panel.x, 38), axis(panel.y, 62)],
        series: [
          { label: named(panel.x), value: (_plot, value) => (value === null ? "" : written(value, 6)) },
          ...panel.curves.map((curve, k) => ({
            label: curve.name,
            stroke: colour(`--curve-${k % 4}`),
            width: 1.5,
            dash: curve.style === "dashed" ? [6, 4] : undefined,
            spanGaps: true,
            paths: curve.style === "points" ? () => null : undefined,
            points: { show: curve.style === "points", size: 6, fill: colour(`--curve-${k % 4}`) },
            value: (_plot, value) => (value === null ? "" : written(value, 5)),
          })),
        ],
        hooks: { drawSeries: [(plot, number) => this.band(plot, number - 1)] },
      },
      joined,
      this.holder,
    );
    this.holder.setAttribute("role", "img");
    this.holder.setAttribute("aria-label", `${panel.title}: ${named(panel.y)} against ${named(panel.x)}`);
  }

  // Uncertainties are seen whole, unless they are out of proportion.
  limits(low, high) {
    if (low === null || !Number.isFinite(low)) return [0, 1];
    const span = high - low || Math.abs(high) || 1;
    let [a, b] = [low, high];
    this.panel.curves.forEach((_, k) => {
      const sigma = this.panel.data[`s${k}`];
      sigma?.forEach((s, i) => {
        const y = this.panel.data[`y${k}`][i];
        if (Number.isFinite(y) && Number.isFinite(s)) {
          a = Math.min(a, Math.max(y - s, low - span));
          b = Math.max(b, Math.min(y + s, high + span));
        }
      });
    });
    return [a - 0.05 * (b - a), b + 0.05 * (b - a)];
  }

  band(plot, number) {
    const { data, curves } = this.panel;
    const sigma = data[`s${number}`];
    if (!sigma) return;
    const [x, y] = [data[`x${number}`], data[`y${number}`]];
    const { ctx } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
    ctx.clip();
    ctx.beginPath();
    const seen = [...x.keys()].filter((i) => Number.isFinite(y[i]) && Number.isFinite(sigma[i]));
    const at = (i, sign) => [plot.valToPos(x[i], "x", true), plot.valToPos(y[i] + sign * sigma[i], "y", true)];
    if (curves[number].style === "points") {
      ctx.strokeStyle = colour(`--curve-${number % 4}`);
      for (const i of seen) {
        ctx.moveTo(...at(i, 1));
        ctx.lineTo(...at(i, -1));
      }
      ctx.stroke();
    } else {
      ctx.globalAlpha = 0.25;
      ctx.fillStyle = colour(`--curve-${number % 4}`);
      seen.forEach((i) => ctx.lineTo(...at(i, 1)));
      seen.reverse().forEach((i) => ctx.lineTo(...at(i, -1)));
      ctx.fill();
    }
    ctx.restore();
  }
}

// Figures side by side, by name; those that are gone are removed.
export class Figures {
  constructor(element, onRegion = null) {
    this.element = element;
    this.onRegion = onRegion;
    this.figures = new Map();
  }

  take(panel) {
    let figure = this.figures.get(panel.name);
    if (!figure || figure.element.dataset.kind !== panel.kind) {
      figure?.element.remove();
      figure = panel.kind === "image" ? new ImageFigure(this.onRegion) : new LinesFigure();
      this.figures.set(panel.name, figure);
      if (this.figures.size === 1) this.element.replaceChildren();
      this.element.append(figure.element);
    }
    figure.take(panel);
  }

  say(name, text) {
    this.figures.get(name).caption.textContent = text;
  }

  keep(names) {
    for (const [name, figure] of this.figures) {
      if (!names.includes(name) && name !== "region") {
        figure.element.remove();
        this.figures.delete(name);
      }
    }
    const wanted = ["region", ...names].filter((name) => this.figures.has(name));
    if ([...this.element.children].map((each) => each.dataset.name).join() !== wanted.join()) this.element.append(...wanted.map((name) => this.figures.get(name).element));
  }

  redraw() {
    for (const figure of this.figures.values()) figure.draw();
  }
}

// Ask for the spectrum of a region that was drawn by hand, and show it beside the images.
export async function regionOf(figures, uid, panel, path) {
  const number = Number(panel.name.match(/-(\d+)$/)?.[1] ?? 0);
  try {
    const answer = await ask(`/api/runs/${uid}/region`, { region: panel.name.startsWith("score-") ? 0 : number, path });
    unpackAll(await answer.arrayBuffer()).forEach((each) => figures.take(each));
  } catch (error) {
    figures.say(panel.name, error.message);
  }
}
