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

/** Points of a line through values (0 to 1, null: a gap is bridged) over a box. */
export const line = (values, width, height, pad = 2) => {
  const known = values.map((value, index) => [index, value]).filter(([, value]) => value !== null);
  const step = width / Math.max(1, values.length - 1);
  const y = (value) => (height - pad - value * (height - 2 * pad)).toFixed(1);
  return known.map(([index, value]) => `${(index * step).toFixed(1)},${y(value)}`).join(" ");
};
