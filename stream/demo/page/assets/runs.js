// Bots that this page unleashed: their choice, how far they are, and their verdicts.
import { $, ACTIONS, make, say } from "./dom.js";
import { reasons } from "./you.js";

const STATES = {
  starting: "starting",
  open: "at work",
  running: "at work",
  final: "done",
  done: "done, without an end",
  failed: "failed",
};

export const runs = (opened, post) => {
  for (const { kind, words } of opened.bots) $("bot-kind").append(new Option(words, kind));
  const about = () => {
    const kind = opened.bots.find((one) => one.kind === $("bot-kind").value);
    if (kind) say($("bot-about"), kind.about);
  };
  $("bot-kind").addEventListener("change", about);
  about();
  $("unleash").disabled = !opened.bots.length;
  if (!opened.bots.some((one) => one.kind === "driven")) {
    say($("bot-words"), "No browser can be driven here, so scripted clients stand in (for one: Chromium, and make setup-dev).");
  }
  $("unleash").addEventListener("click", async () => {
    $("unleash").disabled = true;
    say($("bot-words"), "");
    try {
      await post("/api/bot", { view: opened.view, kind: $("bot-kind").value });
    } catch (error) {
      say($("bot-words"), `Not now: ${error.message}.`);
    } finally {
      $("unleash").disabled = false;
    }
  });
  const rows = new Map();
  return {
    show: (shown) => {
      if (!rows.has(shown.ref)) {
        rows.set(shown.ref, runRow(shown));
        while ($("runs").children.length > 3) $("runs").lastElementChild.remove();
      }
      rows.get(shown.ref)(shown);
    },
  };
};

const runRow = (first) => {
  const word = make("span", "word", "waiting");
  const risk = make("span", "risk mono", "–");
  const state = make("span", "state hint");
  const list = make("ul", "reasons brief");
  const title = make("p", "title", make("span", "tag bot", "bot"), make("b", "", first.told.replace(/^a bot: /, "")), make("span", "chip mono", `#${first.ref}`));
  const verdict = make("p", "line", make("span", "mark"), word, risk, state);
  verdict.firstChild.setAttribute("aria-hidden", "true");
  const row = make("li", "run", title, verdict, list);
  $("runs").prepend(row);
  let said = "";
  return (shown) => {
    row.dataset.action = shown.action ?? "none";
    row.dataset.state = shown.state;
    say(word, shown.action ? ACTIONS[shown.action] : "no verdict yet");
    say(risk, shown.action ? `risk ${shown.risk}` : "");
    const about = shown.note ? `${STATES[shown.state] ?? shown.state}: ${shown.note}` : (STATES[shown.state] ?? shown.state);
    const span = shown.events ? ` · ${shown.events} events, ${shown.observed_s.toFixed(1)} s` : "";
    say(state, `${about}${span}`);
    reasons(list, shown.reasons.slice(0, 3));
    const now = `${shown.action}${shown.state}`;
    if (now !== said && shown.action && (shown.state === "final" || shown.state === "failed")) {
      say($("bot-words"), `The bot's verdict: ${ACTIONS[shown.action]}.`);
    }
    said = now;
  };
};
