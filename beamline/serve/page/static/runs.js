// Runs: found by what they are, seen in the figures of the live view, taken away as reports and exports.
import { ask, make } from "./dom.js";
import { Figures, regionOf, unpackAll } from "./figures.js";

const FILTERS = [["text", "Any text"], ["sample", "Sample"], ["edge", "Edge"], ["technique", "Technique"], ["status", "Status"], ["since", "From (YYYY-MM-DD)"], ["until", "Until"]];
const FORMATS = { nexus: "NeXus", nxstxm: "NXstxm", columns: "columns of text" };

export class RunsView {
  constructor(element) {
    this.filters = make("form", { className: "filters", role: "search" }, ...FILTERS.map(([name, label]) => make("label", {}, label, make("input", { name, type: "text", autocomplete: "off" }))));
    this.filters.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), 300);
    });
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.body = make("tbody", {});
    this.problem = make("p", { className: "problem", role: "alert" });
    const head = make("tr", {}, ...["scan", "time", "technique", "sample", "edge", "points", "status"].map((each) => make("th", { scope: "col" }, each)));
    this.about = make("div", {});
    this.grid = make("div", { className: "figures" });
    element.append(make("div", { className: "card" }, this.filters, this.problem, make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), this.body))), this.about, this.grid);
    addEventListener("run", (event) => {
      document.getElementById("tab-runs").click();
      this.open(event.detail);
    });
  }

  redraw() {
    this.figures?.redraw();
  }

  note(now) {
    const key = `${now.run.uid} ${now.run.measuring}`;
    if (key !== this.known && !document.getElementById("runs").hidden) this.refresh();
    this.known = key;
  }

  async refresh() {
    const query = new URLSearchParams([...new FormData(this.filters)].filter(([, value]) => value));
    try {
      const found = await (await ask(`/api/runs?${query}`)).json();
      this.problem.textContent = "";
      this.body.replaceChildren(...found.map((run) => this.row(run)));
      if (!found.length) this.body.replaceChildren(make("tr", {}, make("td", { colSpan: 7, className: "hint" }, "No run is like this.")));
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  row(run) {
    const open = () => this.open(run.uid);
    const name = make("button", { type: "button", onclick: (event) => { event.stopPropagation(); open(); } }, String(run.scan_id ?? run.uid.slice(0, 8)));
    const row = make("tr", { className: "pick", onclick: open, data: { uid: run.uid }, "aria-selected": String(run.uid === this.uid) },
      make("td", {}, name), make("td", {}, run.time), make("td", {}, run.technique || ""), make("td", {}, run.sample || ""), make("td", {}, run.edge || ""),
      make("td", { className: "number" }, `${run.measured ?? "?"} of ${run.points ?? "?"}`), make("td", { className: run.problems.length ? "warning" : "" }, run.problems.join("; ") || run.exit_status || ""));
    return row;
  }

  async open(uid) {
    this.uid = uid;
    for (const row of this.body.children) row.setAttribute("aria-selected", String(row.dataset.uid === uid));
    this.about.replaceChildren(make("p", { className: "hint" }, "reading …"));
    try {
      const summary = await (await ask(`/api/runs/${uid}`)).json();
      if (this.uid !== uid) return;
      this.tell(uid, summary);
      await this.draw(uid, "");
    } catch (error) {
      this.about.replaceChildren(make("p", { className: "problem", role: "alert" }, error.message));
    }
  }

  tell(uid, summary) {
    const lines = (summary.lines || []).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
    const links = [make("a", { href: `/api/runs/${uid}/report`, download: "" }, "Report"), ...(summary.exports || []).map((form) => make("a", { href: `/api/runs/${uid}/export/${form}`, download: "" }, FORMATS[form] || form))];
    const slider = summary.energies?.length > 1 ? this.slider(uid, summary.energies) : null;
    this.about.replaceChildren(make("div", { className: "card" },
      make("h2", {}, `${summary.title || uid}`),
      ...(summary.warnings || []).map((each) => make("p", { className: "warning" }, each)),
      make("div", { className: "scroll" }, make("table", {}, make("tbody", {}, ...lines))),
      make("p", { className: "buttons" }, "Download: ", ...links), slider));
    this.about.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  slider(uid, energies) {
    const out = make("output", {}, "newest");
    const input = make("input", { type: "range", min: 0, max: energies.length - 1, value: energies.length - 1, "aria-label": "energy of the optical density" });
    input.addEventListener("input", () => { out.textContent = `${energies[input.value].toFixed(2)} eV`; });
    input.addEventListener("change", () => this.draw(uid, input.value));
    return make("label", { className: "slider" }, "Optical density at", input, out);
  }

  async draw(uid, energy) {
    const answer = await ask(`/api/runs/${uid}/figures${energy === "" ? "" : `?energy=${energy}`}`);
    const panels = unpackAll(await answer.arrayBuffer());
    if (this.uid !== uid) return;
    if (this.drawn !== uid) {
      this.grid.replaceChildren();
      this.figures = new Figures(this.grid, (panel, path) => regionOf(this.figures, uid, panel, path));
      this.drawn = uid;
    }
    panels.forEach((panel) => this.figures.take(panel));
    this.figures.keep(panels.map((panel) => panel.name));
    if (!panels.length) this.grid.replaceChildren(make("p", { className: "hint" }, "This run has no figures here."));
  }
}
