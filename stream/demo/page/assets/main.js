// Starts the page: a session, the collector, the live stream; and tells when something of it is not there.
import { crowd } from "./crowd.js";
import { form } from "./form.js";
import { live } from "./live.js";
import { runs } from "./runs.js";
import { you } from "./you.js";
import { $, say } from "./dom.js";

const banner = (words) => {
  $("banner").hidden = !words;
  say($("banner"), words);
};

const post = async (path, body) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `the demo answered ${answer.status}`);
  return told;
};

const theme = () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const name = () => say($("theme"), isDark() ? "Light" : "Dark");
  $("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("tellwire-theme", root.dataset.theme);
    } catch {
      // It lasts as long as the page then.
    }
    name();
  });
  system.addEventListener("change", name);
  name();
};

const begin = async () => {
  const ticket = new URLSearchParams(location.search).get("ticket") ?? "";
  const opened = await post("/api/session", { ticket });
  const token = { latest: opened.session.token };
  const collector = tellwire.start({
    session: opened.session,
    renew: async () => (token.latest = (await post("/api/renew", { token: token.latest })).token),
    onError: (error) => console.warn("collector", error),
  });
  form(collector);
  // A bot's own page shows nothing live: its session is seen where it was unleashed.
  if (ticket) {
    document.body.classList.add("sent");
    banner("This browser is driven by a program: a bot. Its session is seen on the page that unleashed it.");
    say($("link-words"), "bot");
    return;
  }
  const own = you(collector, opened);
  const bots = runs(opened, post);
  const others = crowd();
  live(opened.view, {
    session: (shown) => (shown.who === "visitor" ? own.show(shown) : bots.show(shown)),
    totals: (totals) => others.totals(totals),
    rows: (rows) => others.rows(rows),
    row: (row) => others.row(row),
    gone: () => banner("The demo was started anew, or this page was left alone for long. Load the page again for a new session."),
  });
};

theme();
begin().catch((error) => {
  const words = error instanceof TypeError ? "the demo does not answer: is it still running?" : error.message;
  banner(`No session: ${words} Load the page again to retry.`);
  say($("link-words"), "not connected");
  $("link").dataset.state = "off";
});
