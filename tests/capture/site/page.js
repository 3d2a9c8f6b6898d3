// The test page's own script: starts the collector as the address says, and notes what a page would suffer from.
const asked = new URLSearchParams(location.search);
window.noted = { errors: [], violations: [], collector: [] };
addEventListener("error", (event) => noted.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => noted.errors.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => {
  noted.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
document.querySelector("#form").addEventListener("submit", (event) => event.preventDefault());
customElements.define(
  "my-field",
  class extends HTMLElement {
    connectedCallback() {
      const input = document.createElement("input");
      input.name = "shadow";
      this.attachShadow({ mode: "open" }).append(input);
    }
  },
);
window.collector = tellwire.start({
  session: {
    endpoint: asked.get("endpoint") ?? "/v1/telemetry",
    session_id: asked.get("session") ?? "s_test",
    nonce: "n_test",
    token: "v1.token",
  },
  consent: JSON.parse(asked.get("consent") ?? '{"behaviour":true}'),
  onError: (error) => noted.collector.push(String(error && error.stack ? error.stack : error)),
  ...JSON.parse(asked.get("options") ?? "{}"),
  ...(asked.get("renew") ? { renew: async () => asked.get("renew") } : {}),
});
