// Builds elements. Text always becomes a text node, so no name or message of a component can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// An HTML element. `on…` properties are listeners, all others are attributes.
export function h(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

// An SVG element.
export function svg(name, properties, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

// Replaces what an element contains, and keeps the keyboard's focus on the element with the same `data-key`.
export function show(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// The first digits of a digest, with the whole one as its title.
export function digest(text) {
  return text ? h("code", { title: text }, text.slice(0, 12)) : h("span", { class: "muted" }, "none");
}

// A moment, as the time that has passed since.
export function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  const date = new Date(seconds * 1000);
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString() }, `${duration(passed)} ago`);
}

// A duration in its largest unit.
export function duration(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

// A number of microseconds.
export function latency(us) {
  if (us === null || us === undefined) return "–";
  if (us >= 1e6) return `${(us / 1e6).toPrecision(3)} s`;
  return us >= 1000 ? `${(us / 1000).toPrecision(3)} ms` : `${Math.round(us)} µs`;
}

// A count or a rate.
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = share * 100;
  return `${value !== 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

// A text of the host, in which parts between backticks are code.
export function code(text) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? h("code", {}, part) : part));
}
