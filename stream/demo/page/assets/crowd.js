// The simulated crowd: how its people and bots came out, and its latest sessions, truth beside verdict.
import { $, ACTIONS, make, ms, say } from "./dom.js";

const SHOWN = 8;
const ORDER = ["allow", "step_up", "block"];

export const crowd = () => {
  const sides = { people: side("people", "stepped up"), bots: side("bots", "found") };
  let paused = false;
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    say($("pause"), paused ? "Go on with the list" : "Pause the list");
  });
  const add = (row) => {
    if (paused) return;
    $("rows").prepend(rowOf(row));
    while ($("rows").children.length > SHOWN) $("rows").lastElementChild.remove();
  };
  return {
    row: add,
    rows: (rows) => {
      if (paused) return;
      $("rows").replaceChildren(...rows.slice(-SHOWN).reverse().map(rowOf));
    },
    totals: (totals) => {
      sides.people(totals.people);
      sides.bots(totals.bots);
      if (!totals.is_simulation) {
        say($("crowd-chip"), "recorded");
        say($("crowd-words"), "Recorded sessions, played again, beside what the pipeline made of them.");
      }
      const acked = totals.acked_p50_ms === null ? "" : ` Received to acknowledged: median ${ms(totals.acked_p50_ms)}, 99 % within ${ms(totals.acked_p99_ms)}.`;
      const count = totals.events.toLocaleString("en").replaceAll(",", " ");
      say($("crowd-numbers"), `${count} risk events, ${Math.round(totals.rate_per_s)} a second.${acked} The list is a sample; the bars count all.`);
      say($("embedded-words"), totals.is_embedded ? "The broker here is an embedded one, no instrument for latency: see the benchmark for that." : "");
    },
  };
};

const side = (name, found) => {
  const parts = Object.fromEntries(ORDER.map((action) => [action, make("i", action)]));
  const bar = make("div", "stack", ...Object.values(parts));
  bar.setAttribute("role", "img");
  const numbers = make("span", "numbers");
  $("sides").append(make("div", "side", make("span", `tag ${name === "bots" ? "bot" : "person"}`, name), bar, numbers));
  return (counts) => {
    const whole = Math.max(1, counts.sessions);
    for (const action of ORDER) parts[action].style.flexGrow = String(counts[action] / whole);
    const share = Math.round((100 * (counts.step_up + counts.block)) / whole);
    say(numbers, `${counts.sessions}, ${share} % ${found}`);
    bar.setAttribute("aria-label", `${counts.sessions} ${name}: ${counts.allow} allowed, ${counts.step_up} stepped up, ${counts.block} blocked`);
  };
};

const rowOf = (row) => {
  const is = row.actor === "bot";
  const right = is === (row.action !== "allow");
  const verdict = make("td", `verdict ${row.action}`, make("span", "mark"), ACTIONS[row.action]);
  verdict.firstChild.setAttribute("aria-hidden", "true");
  const mark = make("span", right ? "right" : "wrong", right ? "✓" : "✗");
  mark.title = right ? "as it should be" : is ? "a bot was let through" : "a person was asked for more";
  const hidden = make("span", "sr", mark.title);
  mark.setAttribute("aria-hidden", "true");
  verdict.append(mark, hidden);
  const who = make("td", "", make("span", `tag ${is ? "bot" : "person"}`, is ? "bot" : "person"), make("span", "family", row.family));
  return make("tr", row.action, who, verdict, make("td", "num", String(row.risk)), make("td", "num", `${row.observed_s.toFixed(1)} s`), make("td", "why", row.why));
};
