// Small helpers: find, make, write. No HTML is ever put together from text.
export const $ = (id) => document.getElementById(id);

/** Write text where it changed: what stays is not announced or painted again. */
export const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

export const make = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
};

const SVG = "http://www.w3.org/2000/svg";
export const draw = (tag, attributes) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

export const ACTIONS = { allow: "Allow", step_up: "Step up", block: "Block" };

export const ms = (value) =>
  value === null || value === undefined ? "–" : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;

export const percent = (value) => `${Math.round(100 * value)} %`;

/** Points of a line through values (0 to 1; null: a gap, which is bridged) at their times over a box. */
export const line = (times, values, width, height, pad = 2) => {
  const span = times.at(-1) - times[0];
  const x = (index) => (span > 0 ? ((times[index] - times[0]) / span) * width : 0).toFixed(1);
  const y = (value) => (height - pad - value * (height - 2 * pad)).toFixed(1);
  const points = values.flatMap((value, index) => (value === null ? [] : [`${x(index)},${y(value)}`]));
  // A single point is a level.
  if (points.length && span <= 0) points.push(`${width},${points.at(-1).split(",")[1]}`);
  return points.join(" ");
};
