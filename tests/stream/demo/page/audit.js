// What a check of accessibility looks at first, by itself: names, contrast of text (WCAG AA), ids, headings, images.
// Returns what is wrong, in words.
() => {
  const wrong = [];
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  // Any CSS colour as sRGB bytes and alpha, by the browser's own painter.
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (one, two) => {
    const [high, low] = [light(one), light(two)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255, 1];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color : over(color, ground(element.parentElement));
  };
  const where = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}.${element.className}`;
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const told = (style) => parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, noscript, option, .sr, :disabled, [aria-hidden=true] .mark")) continue;
    if (!seen(element)) continue;
    const style = getComputedStyle(element);
    const color = rgba(element instanceof SVGElement ? style.fill : style.color);
    const back = ground(element);
    const found = ratio(over(color, back), back);
    if (found < (told(style) ? 3 : 4.5)) {
      wrong.push(`contrast ${found.toFixed(2)} of "${walker.currentNode.data.trim().slice(0, 30)}" in ${where(element)}`);
    }
  }
  for (const field of document.querySelectorAll("input, select, textarea")) {
    if (!seen(field)) continue;
    if (!field.labels?.length && !field.ariaLabel) wrong.push(`no label: ${where(field)}`);
    const edge = rgba(getComputedStyle(field).borderTopColor);
    if (field.type !== "checkbox" && ratio(edge, ground(field.parentElement)) < 3) wrong.push(`faint edge: ${where(field)}`);
  }
  for (const control of document.querySelectorAll("button, a")) {
    if (!seen(control) || control.closest("[aria-hidden=true]")) continue;
    if (!control.textContent.trim() && !control.ariaLabel) wrong.push(`no name: ${where(control)}`);
    const box = control.getBoundingClientRect();
    if (control.matches("button") && box.height < 24) wrong.push(`small to hit: ${where(control)} ${box.height}`);
  }
  for (const image of document.querySelectorAll("img, svg[role=img]")) {
    if (image.getAttribute("alt") === null && !image.getAttribute("aria-label")) wrong.push(`no text for ${where(image)}`);
  }
  for (const hidden of document.querySelectorAll("[aria-hidden=true]")) {
    const inside = [hidden, ...hidden.querySelectorAll("*")];
    if (inside.some((element) => element.tabIndex >= 0)) wrong.push(`reached by keyboard and hidden: ${where(hidden)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice: #${id}`);
  for (const name of ["aria-labelledby", "for"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      if (!document.getElementById(element.getAttribute(name))) wrong.push(`${name} of ${where(element)} leads nowhere`);
    }
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) wrong.push(`${heading.tagName} after H${level}: ${heading.textContent}`);
    level = next;
  }
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  if (!document.documentElement.lang || !document.title) wrong.push("no language or title");
  return wrong;
}
