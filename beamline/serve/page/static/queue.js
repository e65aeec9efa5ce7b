// The queue: what is measured, what comes next, what was; forms made from the plans.
import { ask, choose, duration, make, time } from "./dom.js";

const SEVERAL = " Several, separated by semicolons, are queued one after the other.";
const EDGES = " Several edges are queued one after the other: O K=520:560:0.5; Co L3=770:800:0.2.";
const RANK = { viewer: 0, user: 1, operator: 2 };

export class QueueView {
  constructor(element) {
    this.you = { name: "", role: "viewer" };
    this.plans = [];
    this.edited = null;
    this.list = make("div", {});
    this.form = make("form", { className: "plan card" });
    element.append(make("div", { className: "columns" }, this.list, this.form));
    this.shown = "";
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(event.submitter?.value || "add");
    });
  }

  get may() {
    return RANK[this.you.role] >= RANK.user;
  }

  async begin() {
    try {
      this.plans = await (await ask("/api/plans")).json();
      this.build(this.plans[0].name, {});
      this.samples = document.body.appendChild(make("datalist", { id: "samples" }));
    } catch (error) {
      this.form.replaceChildren(make("p", { className: "problem" }, error.message));
    }
  }

  // The names of the samples, for whoever may queue; a form does without where they cannot be told.
  async offer() {
    if (!this.may || this.offered) return;
    this.offered = true;
    try {
      const names = await (await ask("/api/samples")).json();
      this.samples.replaceChildren(...names.map((value) => make("option", { value })));
    } catch (error) {
      this.message.textContent = error.message;
    }
  }

  take(now) {
    this.now = now;
    if (this.samples) this.offer();
    const { queue, run } = now;
    const key = JSON.stringify([queue.problem, queue.running, queue.items, queue.history, queue.status?.manager_state, queue.status?.queue_stop_pending, queue.status?.pause_pending, queue.status?.worker_environment_exists, this.you, run.measuring]);
    if (key === this.shown) return;
    this.shown = key;
    this.permit();
    this.draw(queue);
  }

  draw(queue) {
    const status = queue.status || {};
    const button = (label, body, properties = {}) => make("button", { type: "button", disabled: !this.may, onclick: () => this.act(body), ...properties }, label);
    const running = queue.running?.name ? queue.running : null;
    const paused = status.manager_state === "paused";
    const buttons = [
      (!running || paused) && button(paused ? "Resume" : "Start the queue", { do: "start" }, { className: "main", disabled: !this.may || (!paused && !queue.items.length) || !status.worker_environment_exists }),
      running && !paused && button("Pause now", { do: "pause", now: true }),
      running && !paused && button("Pause after this point", { do: "pause", now: false }, { disabled: !this.may || status.pause_pending }),
      running && button(status.queue_stop_pending ? "Go on with the queue" : "Stop after this plan", { do: status.queue_stop_pending ? "go-on" : "stop-after" }),
      running && make("button", { type: "button", className: "danger", disabled: !this.may, onclick: () => this.abort(running) }, "Abort"),
    ].filter(Boolean);
    this.message ||= make("p", { className: "answer bad", role: "alert" });
    const cards = [
      make("div", { className: "card" },
        make("h2", {}, "Now"),
        running ? this.item(running) : make("p", { className: "hint" }, queue.problem || (status.worker_environment_exists ? "Nothing is being measured by the queue." : "The worker is starting.")),
        make("div", { className: "buttons" }, ...buttons),
        this.message),
      make("div", { className: "card" },
        make("h2", {}, queue.single ? "No queue" : `Next (${queue.items.length})`),
        queue.items.length ? make("ol", { className: "items" }, ...queue.items.map((item, k) => this.queued(item, k, queue.items))) : make("p", { className: "hint" }, queue.single ? "This service is for one user: what is added is measured at once." : "The queue is empty.")),
      make("div", { className: "card" },
        make("h2", {}, "Before"),
        queue.history.length ? make("ol", { className: "items" }, ...queue.history.map((item) => this.past(item))) : make("p", { className: "hint" }, "Nothing yet.")),
    ];
    this.list.replaceChildren(...cards);
  }

  item(item, ...rest) {
    const values = Object.entries(item.kwargs || {}).map(([key, value]) => `${key} ${value}`).join(", ");
    return make("div", { className: "item" }, make("div", {}, make("strong", {}, item.name), " ", make("span", { className: "values" }, values)), make("span", { className: "values" }, item.user ? `by ${item.user}` : ""), ...rest);
  }

  queued(item, k, items) {
    const small = (label, act, properties = {}) => make("button", { type: "button", disabled: !this.may, onclick: act, "aria-label": `${label} ${item.name} ${k + 1}`, ...properties }, label);
    const before = items[k - 2];
    return make("li", { data: { uid: item.item_uid } }, this.item(item), make("div", { className: "buttons" },
      small("Up", () => this.act({ do: "move", uid: item.item_uid, after: before ? before.item_uid : "" }), { disabled: !this.may || k === 0 }),
      small("Down", () => this.act({ do: "move", uid: item.item_uid, after: items[k + 1].item_uid }), { disabled: !this.may || k === items.length - 1 }),
      small("Edit", () => this.build(item.name, item.kwargs, item.item_uid)),
      small("Copy", () => this.build(item.name, item.kwargs)),
      small("Remove", () => this.act({ do: "remove", uid: item.item_uid }))));
  }

  past(item) {
    const result = item.result || {};
    const ended = result.time_stop ? `${time(result.time_stop)}, ${duration(result.time_stop - result.time_start)}` : "";
    const message = result.exit_status === "completed" ? null : make("p", { className: "answer bad" }, result.msg || "");
    return make("li", {}, this.item(item, make("span", {}, `${result.exit_status || ""} ${ended}`)), message,
      make("div", { className: "buttons" }, make("button", { type: "button", onclick: () => this.build(item.name, item.kwargs) }, "Copy"),
        ...(result.run_uids || []).slice(0, 8).map((uid) => make("a", { href: `#runs/${uid}`, onclick: () => dispatchEvent(new CustomEvent("run", { detail: uid })) }, uid.slice(0, 8)))));
  }

  async act(body) {
    this.message.textContent = "";
    try {
      await ask("/api/queue", body);
    } catch (error) {
      this.message.textContent = error.message;
    }
  }

  async abort(running) {
    const choice = await choose("Abort what is measured?", `${running.name} is paused and then ended. What was measured is kept, and the run says that it was aborted.`, [
      ["drop", "Abort, and drop it", "danger"],
      ["keep", "Abort, and put it back to the front", "danger"],
      ["", "Let it run"],
    ]);
    if (choice) await this.act({ do: "abort", uid: running.item_uid, keep: choice === "keep" });
  }

  build(name, values, uid = null) {
    const plan = this.plans.find((each) => each.name === name);
    if (!plan) return;
    this.edited = uid;
    this.plan = plan;
    this.edges = plan.parameters.some((each) => each.name === "edge") && plan.parameters.find((each) => each.type === "EnergyRegions");
    const pick = make("select", { id: "plan", onchange: (event) => this.build(event.target.value, this.values()) }, ...this.plans.map((each) => make("option", { value: each.name, selected: each.name === name }, each.name)));
    const fields = plan.parameters.map((parameter) => this.field(parameter, values[parameter.name]));
    this.answer = make("p", { className: "answer", role: "alert" });
    this.form.replaceChildren(
      make("h2", {}, uid ? "Edit" : "Add to the queue"),
      make("div", { className: "field" }, make("label", { htmlFor: "plan" }, "Plan"), pick, make("small", {}, plan.summary)),
      ...fields,
      this.answer,
      make("div", { className: "buttons" },
        make("button", { value: "check" }, "Check"),
        make("button", { value: "add", className: "main" }, uid ? "Save" : "Add"),
        uid ? make("button", { type: "button", onclick: () => this.build(name, this.values()) }, "Leave it as it was") : make("button", { value: "front" }, "Add to the front")));
    this.permit();
  }

  // Whoever may only look cannot press what would be refused.
  permit() {
    for (const button of this.form.querySelectorAll("button")) button.disabled = !this.may;
  }

  field(parameter, value) {
    const id = `field-${parameter.name}`;
    const common = { id, name: parameter.name, required: parameter.required };
    let input;
    if (parameter.choices?.length || parameter.type === "bool") {
      const choices = parameter.type === "bool" ? ["no", "yes"] : parameter.choices;
      const given = value === undefined ? parameter.default : value;
      const chosen = parameter.type === "bool" ? (given === true || given === "yes" ? "yes" : "no") : String(given);
      input = make("select", common, ...choices.map((each) => make("option", { value: each, selected: each === chosen }, each)));
    } else {
      input = make("input", { ...common, type: "text", inputMode: ["float", "int"].includes(parameter.type) ? "decimal" : "text", value: value === undefined ? "" : String(value), placeholder: parameter.required ? "" : String(parameter.default ?? ""), autocomplete: "off", spellcheck: false });
      if (parameter.name === "sample") input.setAttribute("list", "samples");
    }
    const several = parameter.name === "sample" ? SEVERAL : this.edges === parameter ? EDGES : "";
    return make("div", { className: "field" }, this.label(parameter, id), input, make("small", {}, `${parameter.help.replace(/\bum\b/g, "µm")}${several}`));
  }

  label(parameter, id) {
    return make("label", { htmlFor: id }, parameter.name.replaceAll("_", " "), make("span", { className: "unit" }, `${parameter.unit ? ` (${parameter.unit.replace(/^um$/, "µm")})` : ""}${parameter.required ? "" : ", optional"}`));
  }

  values() {
    return Object.fromEntries([...new FormData(this.form)].filter(([name, value]) => name && name !== "plan" && value !== ""));
  }

  async submit(how) {
    const values = this.values();
    const parts = (text) => (text || "").split(";").map((each) => each.trim()).filter(Boolean);
    const samples = parts(values.sample).length > 1 ? parts(values.sample).map((sample) => ({ sample })) : [{}];
    const energies = this.edges ? values[this.edges.name] : "";
    const edges = energies?.includes("=") ? parts(energies).map((part) => ({ edge: part.split("=")[0].trim(), [this.edges.name]: part.split("=").slice(1).join("=").trim() })) : [{}];
    const each = samples.flatMap((sample) => edges.map((edge) => ({ ...values, ...sample, ...edge })));
    this.answer.className = "answer";
    this.answer.textContent = "checking …";
    try {
      const body = { plan: this.plan.name, values: each };
      const answer = how === "check" ? await ask("/api/check", body) : await ask("/api/queue", this.edited ? { do: "replace", uid: this.edited, ...body } : { do: "add", front: how === "front", ...body });
      const { estimates } = await answer.json();
      const said = [...new Set(estimates.map((one) => this.estimate(one)))].join("; ");
      const several = estimates.length > 1 ? `${estimates.length} plans, ${duration(estimates.reduce((sum, one) => sum + one.duration, 0))} in all: ` : "";
      this.answer.className = "answer good";
      this.answer.textContent = `${how === "check" ? "Can be measured" : this.edited ? "Saved" : "Queued"}: ${several}${said}`;
      if (this.edited && how !== "check") this.build(this.plan.name, values);
    } catch (error) {
      this.answer.className = "answer bad";
      this.answer.textContent = error.message;
    }
  }

  estimate(found) {
    const size = found.bytes ? `, ${found.bytes < 1e9 ? `${Math.ceil(found.bytes / 1e6)} MB` : `${(found.bytes / 1e9).toFixed(1)} GB`}` : "";
    return `${found.counts}, ${duration(found.duration)}${size}${found.warnings.length ? `. Beware: ${found.warnings.join("; ")}` : ""}`;
  }
}
