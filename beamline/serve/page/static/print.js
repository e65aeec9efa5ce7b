// Figures for print: the style that is asked for, and the archive that comes of it.
import { ask, make } from "./dom.js";

const FORMATS = [["pdf", "PDF"], ["svg", "SVG"], ["png", "PNG"]];
const COLOURS = [["standard", "as in the report"], ["colour-blind", "colour-blind safe"], ["grey", "grey"]];

function choice(name, options) {
  return make("select", { name }, ...options.map(([value, label]) => make("option", { value }, label)));
}

// A form that hands out the figures of a run or an analysis, with the numbers behind each.
export function printForm(uid) {
  const answer = make("p", { className: "answer", role: "alert" });
  const button = make("button", { className: "main" }, "Download figures");
  const fields = [
    ["Format", choice("format", FORMATS)],
    ["Width (mm)", make("input", { name: "width", type: "number", min: 40, max: 400, step: 1, value: 180, required: true })],
    ["Font size (pt)", make("input", { name: "font_size", type: "number", min: 4, max: 24, step: 0.5, value: 8, required: true })],
    ["Colours", choice("colours", COLOURS)],
  ];
  const form = make("form", { className: "settings print" }, ...fields.map(([label, input]) => make("label", {}, label, input)), button, answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    answer.className = "answer";
    answer.textContent = "drawing; this takes some seconds …";
    try {
      const drawn = await ask(`/api/runs/${uid}/print?${new URLSearchParams(new FormData(form))}`);
      const address = URL.createObjectURL(await drawn.blob());
      make("a", { href: address, download: `figures-${uid.slice(0, 8)}.zip` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      answer.textContent = "";
    } catch (error) {
      answer.className = "answer bad";
      answer.textContent = error.message;
    }
    button.disabled = false;
  });
  return make("details", {}, make("summary", {}, "Figures for print"), make("p", { className: "hint" }, "All figures of the report, and the numbers behind each as a table (CSV), in one archive. 85 mm is a column of most journals, 180 mm a page."), form);
}
