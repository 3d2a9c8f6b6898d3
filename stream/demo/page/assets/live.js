// The live stream: connects, comes back after whatever happened, and rests while nobody looks.
import { $, say } from "./dom.js";

const SILENT_MS = 12_000; // numbers come each second: a stream that is silent for longer is gone
const HIDDEN_MS = 5_000; // a browser has few connections for one site: hidden tabs give theirs back
const LONGEST_MS = 10_000;

export const live = (view, on) => {
  let source = null;
  let heard = 0;
  let waitMs = 1_000;
  let retry = 0;
  let hide = 0;
  let over = false;

  const tell = (state, words) => {
    $("link").dataset.state = state;
    say($("link-words"), words);
    document.body.classList.toggle("stale", state === "off");
  };
  const close = () => {
    source?.close();
    source = null;
  };
  const again = () => {
    close();
    tell("off", navigator.onLine ? "connection lost, trying again" : "offline");
    clearTimeout(retry);
    retry = setTimeout(open, waitMs * (0.7 + 0.6 * Math.random()));
    waitMs = Math.min(2 * waitMs, LONGEST_MS);
  };
  const open = () => {
    clearTimeout(retry);
    if (source || over || document.hidden) return;
    heard = performance.now();
    source = new EventSource(`/api/live?view=${encodeURIComponent(view)}`);
    source.onopen = () => {
      waitMs = 1_000;
      tell("on", "live");
    };
    source.onerror = again;
    for (const [name, work] of Object.entries(on)) {
      source.addEventListener(name, (event) => {
        heard = performance.now();
        if (name === "gone") {
          over = true;
          close();
          tell("off", "session gone");
        }
        work(JSON.parse(event.data));
      });
    }
  };
  setInterval(() => {
    if (source && performance.now() - heard > SILENT_MS) again();
  }, 2_000);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hide);
    if (!document.hidden) open();
    else hide = setTimeout(close, HIDDEN_MS);
  });
  addEventListener("online", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
};
