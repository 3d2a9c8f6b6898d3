// The visitor's own session: verdict, trend, scores, reasons, coverage, latency.
import { $, ACTIONS, draw, line, make, ms, percent, say } from "./dom.js";

const NAMES = {
  bot: ["Bot", "behaviour against people's"],
  anomaly: ["Anomaly", "unlike the usual sign-up"],
  device: ["Device", "browser not what it claims"],
  injection: ["Injection", "camera feed not live"],
  replay: ["Replay", "recorded behaviour again"],
  ring: ["Ring", "one of many identities"],
};
const STATES = { no_data: "no data yet", not_expected: "no model of it yet", degraded: "degraded" };
const METHODS = (methods) => (methods.length ? `Ask for ${methods.slice(0, 2).join(" or ")}.` : "");
const ABOUT = {
  allow: () => "Nothing speaks against this visitor so far.",
  step_up: (shown) => `More proof is wanted. ${METHODS(shown.methods)}`,
  block: () => "Refused, with reasons, and a person can review it.",
};

export const you = (collector, opened) => {
  say($("you-ref"), `#${opened.ref}`);
  // It would be a lie to show a driven browser's verdict as a person's.
  $("you-driven").hidden = navigator.webdriver !== true;
  const sends = new Sends(opened.session.endpoint);
  let said = "";
  setInterval(() => count(collector.stats()), 500);
  const channels = new Map();
  return {
    show: (shown) => {
      if (!shown.action) return;
      verdict(shown);
      const times = shown.trend.map((point) => point[0]);
      const unscored = new Map();
      for (const [index, channel] of shown.channels.entries()) {
        // What never had a score is told in a line.
        if (channel.now === null && !channels.has(channel.name)) {
          const why = STATES[channel.state] ?? channel.state;
          unscored.set(why, [...(unscored.get(why) ?? []), NAMES[channel.name]?.[0] ?? channel.name]);
          continue;
        }
        if (!channels.has(channel.name)) channels.set(channel.name, channelRow(channel.name));
        channels.get(channel.name)(channel, times, shown.trend.map((point) => point[index + 3]));
      }
      const told = [...unscored].map(([why, names]) => `${names.join(", ")}: ${why}.`);
      say($("unscored"), told.join(" "));
      reasons($("reasons"), shown.reasons);
      coverage(shown);
      say($("ms-scored"), ms(shown.scored_ms));
      say($("ms-published"), ms(shown.published_ms));
      sends.seen(shown.received_at, (value) => say($("ms-browser"), ms(value)));
      // Told aloud when the decision changes, and when it is final: not with each number.
      const word = `${shown.action}${shown.state}`;
      if (word !== said) {
        said = word;
        const because = shown.reasons.find((one) => one.is_risk);
        const why = shown.action !== "allow" && because ? `, because: ${because.text}` : "";
        say($("said"), `${shown.state === "final" ? "Final decision" : "Decision"}: ${ACTIONS[shown.action]}${why}`);
      }
    },
  };
};

const count = ({ events, sent, dropped, stopped }) => {
  say($("n-events"), String(sent));
  const lost = dropped ? `, ${dropped} given up` : "";
  say($("n-events-words"), `sent of ${events} made${stopped ? ", ended" : ""}${lost}`);
};

const verdict = (shown) => {
  $("you").dataset.action = shown.action;
  $("you").dataset.state = shown.state;
  say($("action-word"), ACTIONS[shown.action]);
  $("glance").dataset.action = shown.action;
  say($("glance-word"), ACTIONS[shown.action]);
  say($("glance-why"), shown.reasons.find((one) => one.is_risk)?.text ?? "");
  say($("glance-risk"), String(shown.risk));
  const end = shown.state === "final" ? "Final. " : "";
  say($("action-about"), `${end}${ABOUT[shown.action](shown)}`);
  say($("gauge-number"), String(shown.risk));
  $("gauge").style.strokeDasharray = `${shown.risk} 100`;
  const now = shown.trend.map((point) => point[1]);
  const peak = shown.trend.map((point) => point[2]);
  const times = shown.trend.map((point) => point[0]);
  $("trend").replaceChildren(
    draw("polygon", { class: "area", points: `0,56 ${line(times, now, 300, 56)} 300,56` }),
    draw("polyline", { class: "peak", points: line(times, peak, 300, 56) }),
    draw("polyline", { class: "now", points: line(times, now, 300, 56) }),
  );
  $("trend").setAttribute("aria-label", `Risk over ${Math.round(shown.observed_s)} seconds: now ${percent(now.at(-1))}, highest ${shown.risk} of 100`);
};

const channelRow = (name) => {
  const [title, about] = NAMES[name] ?? [name, ""];
  const value = make("span", "value");
  const bar = make("span", "bar", make("i", "fill"), make("i", "tick"));
  const spark = draw("svg", { class: "spark", viewBox: "0 0 90 24", preserveAspectRatio: "none", "aria-hidden": "true" });
  const row = make("li", "", make("span", "name", title, make("small", "", about)), bar, spark, value);
  bar.setAttribute("aria-hidden", "true");
  // In their own order, whichever has its first score first.
  const order = Object.keys(NAMES);
  row.dataset.order = String(order.indexOf(name));
  const after = [...$("channels").children].find((other) => Number(other.dataset.order) > Number(row.dataset.order));
  $("channels").insertBefore(row, after ?? null);
  return (channel, times, trend) => {
    const has = channel.now !== null;
    row.dataset.state = channel.state;
    say(value, has ? percent(channel.now) : "–");
    row.dataset.high = channel.peak >= 0.94 ? "high" : channel.peak >= 0.8 ? "some" : "low";
    bar.children[0].style.inlineSize = `${100 * (channel.now ?? 0)}%`;
    bar.children[1].style.insetInlineStart = `${100 * (channel.peak ?? 0)}%`;
    bar.children[1].hidden = channel.peak === null;
    const points = line(times, trend, 90, 24);
    spark.replaceChildren(...(points ? [draw("polyline", { points })] : []));
  };
};

/** Fill a list of reasons; what stays keeps its node, so that only what is new appears. */
export const reasons = (list, found) => {
  if (!found.length) return;
  const before = new Map([...list.children].map((node) => [node.dataset.text, node]));
  const nodes = found.map((one) => {
    const node = before.get(one.text) ?? reasonRow(one);
    say(node.querySelector(".evidence"), one.evidence);
    node.querySelector("i").style.inlineSize = `${Math.max(4, 100 * one.weight)}%`;
    return node;
  });
  if (nodes.some((node, index) => list.children[index] !== node) || nodes.length !== list.children.length) {
    list.replaceChildren(...nodes);
  }
};

const reasonRow = (one) => {
  const direction = make("span", "sr", one.is_risk ? "Raises the risk: " : "Lowers the risk: ");
  const weight = make("span", "weight", make("i"));
  weight.setAttribute("aria-hidden", "true");
  const text = make("span", "text", direction, make("b", "", one.text), make("span", "evidence"));
  const node = make("li", one.is_risk ? "risk" : "trust", make("span", "arrow"), text, weight);
  node.firstChild.setAttribute("aria-hidden", "true");
  node.dataset.text = one.text;
  return node;
};

const coverage = (shown) => {
  const share = Math.round(100 * shown.coverage);
  $("coverage").setAttribute("aria-valuenow", String(share));
  $("coverage").firstElementChild.style.inlineSize = `${share}%`;
  const missing = shown.missing.length ? `not seen yet: ${shown.missing.join(", ")}` : "all expected evidence was seen";
  const degraded = shown.degraded.length ? `; missing while scoring: ${shown.degraded.join(", ")}` : "";
  say($("missing"), `${share} %, ${missing}${degraded}`);
};

/** When requests left this browser: so that the way of one to its risk event, here, can be timed. */
class Sends {
  #began = [];
  #asked = null;

  constructor(endpoint) {
    const note = (list) => {
      for (const entry of list.getEntries()) {
        // By the wall clock of now: the page's own clock stands still while a machine sleeps.
        if (entry.name === endpoint) this.#began.push(Date.now() - performance.now() + entry.startTime);
      }
      this.#began.splice(0, this.#began.length - 50);
      this.#answer();
    };
    new PerformanceObserver(note).observe({ type: "resource", buffered: true });
  }

  /** Tell `told` how long it took, ms, from the request that was received at this time until now. */
  seen(receivedAt, told) {
    this.#asked = { receivedAt, now: Date.now(), told };
    this.#answer();
  }

  #answer() {
    if (!this.#asked) return;
    const { receivedAt, now, told } = this.#asked;
    // Browser and gateway share this machine's clock; a request is listed once it was answered.
    const began = this.#began.findLast((at) => at <= receivedAt + 1);
    if (began === undefined || receivedAt - began > 1_000) return;
    this.#asked = null;
    told(now - began);
  }
}
