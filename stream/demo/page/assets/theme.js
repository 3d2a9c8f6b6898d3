// Light or dark: the system's choice, unless the visitor made one. Runs before the first paint, so nothing flashes.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("tellwire-theme");
  } catch {
    // Storage may be forbidden: then the choice lasts as long as the page.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
