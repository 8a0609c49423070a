// Charts as SVG.

import { h, svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 34;

// Points of the line, split where a value is missing. The newest value is at the right.
function segments(values, slots, highest) {
  const step = WIDTH / (slots - 1);
  const begin = slots - values.length;
  const all = [[]];
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      if (all.at(-1).length > 0) all.push([]);
      return;
    }
    const y = HEIGHT - 2 - (value / highest) * (HEIGHT - 5);
    all.at(-1).push([((begin + index) * step).toFixed(1), y.toFixed(1)]);
  });
  return all.filter((points) => points.length > 0);
}

// A small chart without axes: a name, the newest value, and the last 15 minutes.
export function sparkline({ name, values, show, kind, slots = 180 }) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const highest = Math.max(...known, 0) || 1;
  const now = values.at(-1);
  const label = `${name}: ${show(now)} now, at most ${show(known.length > 0 ? Math.max(...known) : null)} in 15 minutes`;
  const lines = segments(values, slots, highest).flatMap((points) => {
    const line = points.map(([x, y]) => `${x},${y}`).join(" ");
    const area = `${points[0][0]},${HEIGHT} ${line} ${points.at(-1)[0]},${HEIGHT}`;
    const dot = points.length === 1 ? svg("circle", { cx: points[0][0], cy: points[0][1], r: "1.5", class: "dot" }) : null;
    return [svg("polygon", { points: area, class: "area" }), svg("polyline", { points: line, class: "line" }), dot];
  });
  return h("div", { class: `spark ${kind ?? ""}` },
    h("div", { class: "spark-name" }, h("span", { class: "muted" }, name), h("strong", {}, show(now))),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("line", { x1: "0", x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1, class: "base" }), lines));
}
