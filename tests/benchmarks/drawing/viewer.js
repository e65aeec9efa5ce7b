// Draws what comes, by the module that the page names, and notes when the browser has painted it.
import { unpack } from "/static/figures.js";

const { Figures } = await import(document.querySelector("script[data-figures]").dataset.figures);
const figures = new Figures(document.getElementById("live-figures"));
window.shown = [];
let fresh = [];
const socket = new WebSocket(`ws://${location.host}/live`);
socket.binaryType = "arraybuffer";
socket.addEventListener("message", async (event) => {
  if (typeof event.data !== "string") {
    fresh.push(unpack(event.data));
    return;
  }
  const panels = fresh;
  fresh = [];
  await Promise.all(panels.map((panel) => figures.take(panel)));
  const number = JSON.parse(event.data).done;
  requestAnimationFrame(() => requestAnimationFrame(() => window.shown.push([number, Date.now() / 1000])));
  socket.send("drawn");
});
