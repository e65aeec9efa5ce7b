// Elements made of text, which is never markup; and what is asked of the service.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The service does not answer; it is asked again as soon as it does.");
  }
  if (answer.status === 401) {
    location.replace("/login");
    throw new Error("Sign in first.");
  }
  if (!answer.ok) throw new Error(await answer.json().then((said) => said.detail, () => `The service answers ${answer.status}.`));
  return answer;
}

// As all times of the service: 2026-11-27 14:05:09, in the time of whoever looks.
export function time(seconds) {
  const at = new Date(1000 * seconds);
  const two = (number) => String(number).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.round((seconds % 3600) / 60)];
  return `${hours} h ${minutes} min`;
}

// Ask before something that cannot be undone; resolves to the value of the button that was pressed, "" for none.
export function choose(title, text, choices) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  const buttons = document.getElementById("ask-buttons");
  buttons.replaceChildren(...choices.map(([value, label, kind]) => make("button", { value, className: kind || "" }, label)));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}
