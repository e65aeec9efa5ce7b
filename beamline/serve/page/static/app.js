// The page: what is going on, and its parts.
import { AnalysesView } from "./analyses.js";
import { ask, duration, make, time } from "./dom.js";
import { Figures, regionOf, setFractionColours, unpack } from "./figures.js";
import { QueueView } from "./queue.js";
import { RunsView } from "./runs.js";

const $ = (id) => document.getElementById(id);
const PARTS = ["live", "queue", "runs", "analyses", "service"];
const SILENT = 5000; // ms without a word from the service

const live = new Figures($("live-figures"), (panel, path) => shown && regionOf(live, shown, panel, path));
const queue = new QueueView($("queue"));
const runs = new RunsView($("runs"));
const analyses = new AnalysesView($("analyses"));
let shown = ""; // uid of the run of the live view
let heard = 0;
let socket = null;
let wait = 500;

function show(part) {
  for (const each of PARTS) {
    const tab = $(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === part));
    tab.tabIndex = each === part ? 0 : -1;
    $(each).hidden = each !== part;
  }
  if (location.hash !== `#${part}`) history.replaceState(null, "", `#${part}`);
  if (part === "runs") runs.refresh();
  if (part === "analyses") analyses.refresh();
  if (part === "live") live.redraw();
}

for (const part of PARTS) {
  $(`tab-${part}`).addEventListener("click", () => show(part));
  $(`tab-${part}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = PARTS[(PARTS.indexOf(part) + step + PARTS.length) % PARTS.length];
    show(next);
    $(`tab-${next}`).focus();
  });
}

$("fraction-colours").value = localStorage.getItem("fraction") || "safe";
$("fraction-colours").addEventListener("change", (event) => {
  setFractionColours(event.target.value);
  live.redraw();
  runs.redraw();
});
$("sign-out").addEventListener("click", async () => {
  await ask("/logout", {});
  location.replace("/login");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  live.redraw();
  runs.redraw();
});

function state(now) {
  const { run, queue: held } = now;
  if (run.measuring) return run.held ? ["Held", "held"] : ["Measuring", "measuring"];
  if (held.status?.manager_state === "executing_queue") return ["Starting", "measuring"];
  return ["Idle", ""];
}

function showNow(now) {
  const { run } = now;
  shown = run.uid;
  const [word, kind] = state(now);
  $("state").textContent = word;
  $("state").className = `state ${kind}`;
  const what = [run.sample, run.edge, run.plan && `${run.plan} ${run.scan_id ?? ""}`].filter(Boolean).join(" · ");
  const reduction = run.behind ? `${run.behind} behind` : run.measuring ? "up to date" : "summing up";
  const ended = run.exit_status === "success" ? (run.reduced ? "complete" : `measured; reduction ${reduction}`) : run.exit_status;
  $("what").textContent = run.held || (run.measuring || !run.uid ? what : `last: ${what}, ${ended}`);
  $("progress").max = run.points || 1;
  $("progress").value = run.done || 0;
  $("done").textContent = run.points ? `${run.done} of ${run.points}` : "";
  const items = now.queue.items?.length ?? 0;
  const numbers = [
    run.measuring && run.left !== null && ["left", duration(run.left)],
    run.held && ["sample", what],
    ["queued", String(items)],
    run.ring !== undefined && run.ring !== null && ["ring", `${run.ring.toFixed(1)} mA`],
    run.uid && (run.measuring || !run.reduced) && ["reduction", reduction],
    ["disk", `${now.free_gb} GB free`],
  ].filter(Boolean);
  $("numbers").replaceChildren(...numbers.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const wrong = Object.entries(now.parts).filter(([, part]) => part.state !== "running").map(([name, part]) => `${name} is ${part.state}${part.error ? `: ${part.error}` : ""}`);
  $("problem").textContent = [now.queue.problem, run.problem, now.figures, ...wrong].filter(Boolean).join(" · ");
  document.title = `${word}${run.points && run.measuring ? ` ${Math.round((100 * run.done) / run.points)} %` : ""} · ${run.sample || now.endstation}`;
  queue.take(now);
  runs.note(now);
  analyses.note(now);
  showService(now);
}

function showService(now) {
  const rows = Object.entries(now.parts).map(([name, part]) =>
    make("tr", {}, make("td", {}, name), make("td", { className: part.state === "running" ? "" : "warning" }, part.state), make("td", { className: "number" }, String(part.restarts)), make("td", {}, part.behind ? `${part.behind} bytes behind` : ""), make("td", {}, part.error), make("td", {}, part.does)),
  );
  const head = make("tr", {}, ...["process", "state", "restarts", "lag", "error", "does"].map((each) => make("th", { scope: "col" }, each)));
  $("service").replaceChildren(make("div", { className: "card scroll" }, make("h2", {}, `${now.endstation}: the processes of the service`), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), make("p", { className: "hint" }, `as of ${time(now.time)}`)));
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  let fresh = [];
  socket.addEventListener("message", (event) => {
    heard = performance.now();
    wait = 500;
    if (typeof event.data !== "string") {
      fresh.push(unpack(event.data));
      return;
    }
    const said = JSON.parse(event.data);
    if (said.you) {
      $("who").textContent = `${said.you.name}${said.you.name === said.you.role ? "" : ` (${said.you.role})`}`;
      queue.you = runs.you = analyses.you = said.you;
    } else if (said.figures) live.keep(said.figures);
    else if (said.done) {
      fresh.forEach((panel) => live.take(panel));
      if (fresh.length) document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
      fresh = [];
      socket.send("drawn");
    } else if (said.parts) showNow(said);
  });
  socket.addEventListener("close", (event) => {
    if (event.code === 4401) {
      location.replace("/login");
      return;
    }
    silent();
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, 5000);
  });
}

function silent() {
  $("state").textContent = "No connection";
  $("state").className = "state bad";
  $("problem").textContent = "The page's server does not answer; what is shown is the last that came. It is asked again by itself.";
}

setInterval(() => heard && performance.now() - heard > SILENT && silent(), 1000);
show(PARTS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live");
queue.begin();
connect();
