// Analyses: what was read off several runs together, and a form that makes another one.
import { ask, duration, make } from "./dom.js";
import { printForm } from "./print.js";

const COLUMNS = ["time", "technique", "what", "sample", "runs", "status"];
const EXAMPLE = '[measures.edge_position]\nsearch = [532, 540]\n\n[measures.shoulder]\nby = "integral"\nwindow = [529.5, 531.5]';

export class AnalysesView {
  constructor(element) {
    this.runs = make("input", { name: "runs", type: "text", autocomplete: "off", placeholder: "12, 13, 14", id: "analysis-runs" });
    this.recipe = make("textarea", { name: "recipe", rows: 8, spellcheck: false, placeholder: EXAMPLE, id: "analysis-recipe", className: "code" });
    this.button = make("button", { className: "main" }, "Start");
    this.stop = make("button", { type: "button", hidden: true, onclick: () => this.send("/api/analyses/stop", {}) }, "Stop it");
    this.answer = make("p", { className: "answer", role: "status" });
    const form = make("form", { className: "plan" },
      make("div", { className: "field" }, make("label", { htmlFor: "analysis-runs" }, "Runs"), this.runs, make("small", {}, "Scan numbers or uids, separated by commas; or choose them in the list of runs.")),
      make("div", { className: "field" }, make("label", { htmlFor: "analysis-recipe" }, "Recipe"), this.recipe, make("small", {}, "TOML, as of beamline analyse: see \u201cAnalysing runs by a recipe\u201d in the documentation. Without one, spectra are laid over one another, stacks and maps pooled. References are runs.")),
      make("p", { className: "buttons" }, this.button, this.stop), this.answer);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const runs = this.runs.value.split(/[\s,;]+/).filter(Boolean);
      this.send("/api/analyses", { runs, recipe: this.recipe.value });
    });
    this.form = make("details", { className: "card" }, make("summary", {}, "New analysis"), form);
    this.body = make("tbody", {});
    this.problem = make("p", { className: "problem", role: "alert" });
    const head = make("tr", {}, ...COLUMNS.map((each) => make("th", { scope: "col" }, each)));
    this.about = make("div", {});
    element.append(this.form, make("div", { className: "card" }, this.problem, make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), this.body))), this.about);
    addEventListener("analysis", (event) => {
      document.getElementById("tab-analyses").click();
      this.open(event.detail);
    });
    addEventListener("analyse", (event) => {
      document.getElementById("tab-analyses").click();
      this.form.open = true;
      this.runs.value = event.detail.join(", ");
      this.recipe.focus();
    });
  }

  set you(you) {
    const may = you.role === "user" || you.role === "operator";
    for (const each of [this.runs, this.recipe, this.button, this.stop]) each.disabled = !may;
    if (!may) this.say("Your role may look at analyses, and not make any.");
  }

  say(text, kind = "") {
    this.answer.className = `answer ${kind}`;
    this.answer.textContent = text;
  }

  async send(path, body) {
    this.button.disabled = true;
    this.say(path.endsWith("stop") ? "stopping …" : "reading runs and recipe …");
    try {
      const state = await (await ask(path, body)).json();
      if (state.ended === null) this.mine = state.since;
      this.tell(state, state.since);
    } catch (error) {
      this.say(error.message, "bad");
    }
    this.button.disabled = false;
  }

  // What is made now, or was last, as the service says it again and again.
  note(now) {
    const state = now.analysis || {};
    const key = `${state.since} ${state.ended}`;
    if (state.since && (key !== this.known || state.ended === null)) this.tell(state, now.time);
    if (this.known !== undefined && key !== this.known && state.ended) {
      this.refresh();
      if (state.uid && this.mine === state.since) this.open(state.uid);
    }
    this.known = key;
  }

  tell(state, now) {
    this.stop.hidden = state.ended !== null;
    if (state.ended === null) this.say(`An analysis ${state.of ? `of ${state.of} runs ` : ""}is being made for ${state.by}: ${duration(now - state.since)} so far.`);
    else if (state.uid) this.say(`${state.by}\u2019s analysis is done, in ${duration(state.ended - state.since)}: ${state.uid.slice(0, 8)}. ${state.error}`, "good");
    else this.say(`${state.by}\u2019s analysis has ended without a result: ${state.error}`, "bad");
  }

  async refresh() {
    try {
      const found = await (await ask("/api/analyses")).json();
      this.problem.textContent = "";
      this.body.replaceChildren(...found.map((each) => this.row(each)));
      if (!found.length) this.body.replaceChildren(make("tr", {}, make("td", { colSpan: COLUMNS.length, className: "hint" }, "No analysis has been made yet.")));
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  row(each) {
    const open = () => this.open(each.uid);
    const name = make("button", { type: "button", onclick: (event) => { event.stopPropagation(); open(); } }, each.time);
    return make("tr", { className: "pick", onclick: open, data: { uid: each.uid }, "aria-selected": String(each.uid === this.uid) },
      make("td", {}, name), make("td", {}, each.technique), make("td", {}, each.does), make("td", {}, each.sample), make("td", {}, each.runs.map((run) => run.name).join(", ")),
      make("td", { className: each.problems.length ? "warning" : "" }, each.problems.join("; ") || "ok"));
  }

  async open(uid) {
    this.uid = uid;
    for (const row of this.body.children) row.setAttribute("aria-selected", String(row.dataset.uid === uid));
    this.about.replaceChildren(make("p", { className: "hint" }, "reading …"));
    try {
      const found = await (await ask(`/api/analyses/${uid}`)).json();
      if (this.uid === uid) this.show(found);
    } catch (error) {
      this.about.replaceChildren(make("p", { className: "problem", role: "alert" }, error.message));
    }
  }

  show(found) {
    const runs = found.runs.map((run) => make("button", { type: "button", onclick: () => dispatchEvent(new CustomEvent("run", { detail: run.uid })) }, run.name));
    const links = [["report", "Report"], ["export/tables", "tables (CSV, NeXus)"]].map(([path, name]) => make("a", { href: `/api/runs/${found.uid}/${path}`, download: "" }, name));
    const figures = found.figures.map((each) => make("figure", {}, make("h3", {}, each.heading), make("img", { src: `data:image/png;base64,${each.png}`, alt: each.heading }), make("figcaption", {}, each.caption)));
    this.about.replaceChildren(make("div", { className: "card" },
      make("h2", {}, found.title), make("p", { className: "hint" }, found.subtitle), make("p", {}, found.verdict),
      ...[...found.warnings, ...found.remarks].map((each) => make("p", { className: "warning" }, each)),
      ...found.notes.map((each) => make("p", { className: "hint" }, each)),
      make("p", { className: "buttons" }, "Of: ", ...runs),
      make("p", { className: "buttons" }, "Download: ", ...links),
      printForm(found.uid),
      make("details", {}, make("summary", {}, "How it was made"), this.table("", found.provenance))),
    ...found.tables.map((each) => make("div", { className: "card" }, make("h3", {}, each.heading), this.table(each.header, each.rows))),
    make("div", { className: "figures drawn" }, ...figures));
    this.about.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  table(header, rows) {
    const cells = (row, tag) => row.map((cell, place) => make(place ? tag : "th", place ? { className: header ? "number" : "" } : { scope: tag === "th" ? "col" : "row" }, cell));
    return make("div", { className: "scroll" }, make("table", {},
      header ? make("thead", {}, make("tr", {}, ...cells(header, "th"))) : null,
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row, "td"))))));
  }
}
