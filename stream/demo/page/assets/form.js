// The form: consent, the camera step, the submission. It keeps and sends nothing of what is typed.
import { $, say } from "./dom.js";

const consentOf = () =>
  Object.fromEntries([...document.querySelectorAll("[data-consent]")].map((box) => [box.dataset.consent, box.checked]));

export const form = (collector) => {
  const agreed = () => {
    const consent = consentOf();
    collector.setConsent(consent);
    const names = Object.keys(consent).filter((name) => consent[name]);
    say(
      $("consent-words"),
      names.length
        ? `Collected now: ${names.join(", ")}. Take it back at any time.`
        : "Nothing is collected until you agree. No is less evidence, never more risk.",
    );
    document.documentElement.dataset.agreed = String(names.length > 0);
  };
  $("consent").addEventListener("change", agreed);
  $("agree-all").addEventListener("click", () => {
    for (const box of document.querySelectorAll("[data-consent]")) box.checked = true;
    agreed();
  });
  camera(collector);
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    end(collector);
  });
  $("again").addEventListener("click", () => location.assign("/"));
  $("submit").disabled = false;
  document.documentElement.dataset.ready = "true";
};

const end = (collector) => {
  collector.end("completed");
  stopCamera();
  $("form").hidden = true;
  $("consent").disabled = true;
  $("ended").hidden = false;
  $("ended-words").focus();
  // Everything typed goes with the form.
  $("form").reset();
  const asked = setInterval(() => {
    const { queued, stopped } = collector.stats();
    if (queued && !stopped) return;
    clearInterval(asked);
    document.documentElement.dataset.sent = "true";
  }, 100);
};

let stream = null;
const stopCamera = () => {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("video").srcObject = null;
  $("camera-view").hidden = true;
};

const REFUSED = {
  NotAllowedError: "The camera was not allowed. That is fine: the step is left out.",
  NotFoundError: "There is no camera here. That is fine: the step is left out.",
};

const camera = (collector) => {
  let done = () => {};
  $("camera-open").addEventListener("click", async () => {
    $("camera-open").disabled = true;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "NotFoundError");
      stream = await collector.openCamera({ video: { width: 640, height: 480, facingMode: "user" } });
      $("video").srcObject = stream;
      done = collector.watchCamera($("video"));
      $("camera-view").hidden = false;
      $("camera-open").hidden = true;
      $("camera-take").hidden = false;
      say($("camera-words"), "Look at the camera. Times of frames are collected if you agreed to it, no image.");
    } catch (error) {
      $("camera-open").disabled = false;
      say($("camera-words"), REFUSED[error.name] ?? "The camera did not open. That is fine: the step is left out.");
    }
  });
  $("camera-take").addEventListener("click", () => {
    done();
    stopCamera();
    $("camera-take").hidden = true;
    say($("camera-words"), "Taken, and thrown away: no image was kept.");
    $("submit").focus();
  });
};
