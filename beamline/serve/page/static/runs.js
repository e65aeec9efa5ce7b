// Runs: found by what they are, seen in the figures of the live view, taken away as reports and exports.
import { ask, make } from "./dom.js";
import { Figures, regionOf, unpackAll } from "./figures.js";
import { printForm } from "./print.js";

const FILTERS = [["text", "Any text"], ["sample", "Sample"], ["edge", "Edge"], ["technique", "Technique"], ["status", "Status"], ["since", "From (YYYY-MM-DD)"], ["until", "Until"]];
const FORMATS = { nexus: "NeXus", nxstxm: "NXstxm", nxxas: "NXxas", xdi: "XDI", columns: "columns of text" };

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
    this.chosen = new Map(); // uid -> name, of runs that are to be analysed
    this.analyse = make("button", { type: "button", hidden: true, onclick: () => dispatchEvent(new CustomEvent("analyse", { detail: [...this.chosen.values()] })) });
    const head = make("tr", {}, make("th", { scope: "col" }, ""), ...["scan", "time", "technique", "sample", "edge", "points", "status"].map((each) => make("th", { scope: "col", className: each === "points" ? "number" : "" }, each)));
    this.about = make("div", {});
    this.grid = make("div", { className: "figures" });
    element.append(make("div", { className: "card" }, this.filters, this.problem, make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), this.body)), make("p", { className: "buttons" }, this.analyse)), this.about, this.grid);
    addEventListener("run", (event) => {
      document.getElementById("tab-runs").click();
      this.open(event.detail);
    });
  }

  set you(you) {
    this.may = you.role === "user" || you.role === "operator";
    if (!document.getElementById("runs").hidden) this.refresh();
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
      if (!found.length) this.body.replaceChildren(make("tr", {}, make("td", { colSpan: 8, className: "hint" }, "No run is like this.")));
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  row(run) {
    const open = () => this.open(run.uid);
    const name = make("button", { type: "button", onclick: (event) => { event.stopPropagation(); open(); } }, String(run.scan_id ?? run.uid.slice(0, 8)));
    const choose = make("input", { type: "checkbox", checked: this.chosen.has(run.uid), "aria-label": `choose ${name.textContent} to be analysed`, onclick: (event) => event.stopPropagation(), onchange: (event) => this.choose(run, event.target.checked) });
    const row = make("tr", { className: "pick", onclick: open, data: { uid: run.uid }, "aria-selected": String(run.uid === this.uid) },
      make("td", { className: "choose" }, this.may ? choose : ""), make("td", {}, name), make("td", {}, run.time), make("td", {}, run.technique || ""), make("td", {}, run.sample || ""), make("td", {}, run.edge || ""),
      make("td", { className: "number" }, `${run.measured ?? "?"} of ${run.points ?? "?"}`), make("td", { className: run.problems.length ? "warning" : "" }, run.problems.join("; ") || run.exit_status || ""));
    return row;
  }

  choose(run, chosen) {
    if (chosen) this.chosen.set(run.uid, run.uid.slice(0, 8));
    else this.chosen.delete(run.uid);
    this.analyse.hidden = !this.chosen.size;
    this.analyse.textContent = this.chosen.size === 1 ? "Analyse the run chosen" : `Analyse the ${this.chosen.size} runs chosen`;
  }

  async open(uid, beside = "") {
    this.uid = uid;
    this.beside = beside;
    this.energy = "";
    for (const row of this.body.children) row.setAttribute("aria-selected", String(row.dataset.uid === uid));
    this.about.replaceChildren(make("p", { className: "hint" }, "reading …"));
    try {
      const summary = await (await ask(`/api/runs/${uid}`)).json();
      if (this.uid !== uid) return;
      this.tell(uid, summary);
      await this.draw(uid);
    } catch (error) {
      this.about.replaceChildren(make("p", { className: "problem", role: "alert" }, error.message));
    }
  }

  tell(uid, summary) {
    const lines = (summary.lines || []).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
    const links = [make("a", { href: `/api/runs/${uid}/report`, download: "" }, "Report"), ...(summary.exports || []).map((form) => make("a", { href: `/api/runs/${uid}/export/${form}`, download: "" }, FORMATS[form] || form))];
    const slider = summary.energies?.length > 1 ? this.slider(uid, summary.energies, summary.strongest) : null;
    this.about.replaceChildren(make("div", { className: "card" },
      make("h2", {}, `${summary.title || uid}`),
      ...(summary.warnings || []).map((each) => make("p", { className: "warning" }, each)),
      make("div", { className: "scroll" }, make("table", {}, make("tbody", {}, ...lines))),
      make("p", { className: "buttons" }, "Download: ", ...links), this.analyses(summary.analyses || []), printForm(uid), slider,
      this.comparison(uid, summary.others || []),
      summary.settings?.length && this.may ? this.again(uid, summary) : null));
    this.about.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  analyses(found) {
    if (!found.length) return null;
    const open = (each) => () => dispatchEvent(new CustomEvent("analysis", { detail: each.uid }));
    return make("p", { className: "buttons analyses" }, "Analyses: ", ...found.map((each) => make("button", { type: "button", onclick: open(each) }, `${each.does}, of ${each.runs.length} run${each.runs.length === 1 ? "" : "s"}, ${each.time}`)));
  }

  comparison(uid, others) {
    if (!others.length) return null;
    const options = [["", "nothing"], ...others.map((each) => [each.uid, each.name])];
    const pick = make("select", { onchange: (event) => { this.beside = event.target.value; this.draw(uid); } }, ...options.map(([value, name]) => make("option", { value, selected: value === this.beside }, name)));
    return make("label", { className: "slider" }, "Compare with", pick);
  }

  // Settings of the reduction: those that are changed make a new one, which is compared with this.
  again(uid, summary) {
    const inputs = summary.settings.map(({ name, value }) => make("input", { type: "text", name, value, autocomplete: "off", spellcheck: false, data: { before: value } }));
    const answer = make("p", { className: "answer", role: "alert" });
    const button = make("button", { className: "main" }, "Reduce again");
    const form = make("form", { className: "settings" }, ...inputs.map((input) => make("label", {}, input.name, input)), button, answer);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const changes = Object.fromEntries(inputs.filter((input) => input.value !== input.dataset.before).map((input) => [input.name, input.value]));
      button.disabled = true;
      answer.className = "answer";
      answer.textContent = "reducing; this takes as long as the reduction does …";
      try {
        const outcome = await (await ask(`/api/runs/${uid}/reduce`, { changes })).json();
        if (this.uid === uid) await this.open(uid, outcome.compared_with);
      } catch (error) {
        answer.className = "answer bad";
        answer.textContent = error.message;
      }
      button.disabled = false;
    });
    return make("details", {}, make("summary", {}, "Reduce again with other settings"), make("p", { className: "hint" }, "What is kept is a new reduction, compared with this one; the measured data and this reduction stay as they are. Each setting is explained in the documentation."), form);
  }

  slider(uid, energies, strongest) {
    const first = strongest ?? energies.length - 1;
    const out = make("output", {}, `${energies[first].toFixed(2)} eV`);
    const input = make("input", { type: "range", min: 0, max: energies.length - 1, value: first, "aria-label": "energy of the optical density" });
    input.addEventListener("input", () => { out.textContent = `${energies[input.value].toFixed(2)} eV`; });
    input.addEventListener("change", () => { this.energy = input.value; this.draw(uid); });
    return make("label", { className: "slider" }, "Optical density at", input, out);
  }

  async draw(uid) {
    const query = new URLSearchParams(Object.entries({ energy: this.energy, with: this.beside }).filter(([, value]) => value !== ""));
    const answer = await ask(`/api/runs/${uid}/figures?${query}`);
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
