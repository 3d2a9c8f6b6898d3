// One visit of one attacker that is written for Node.js: Puppeteer as it comes, with stealth, patched, with ghost-cursor or
// a sampled fingerprint. The first line of standard input is a JSON object, as of `redteam/attack.py`; exit status 0: sent.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(import.meta.url);
// What every tool starts Chromium with, as `redteam/browsers.py` reads it.
const { width: WIDTH, height: HEIGHT, quiet } = JSON.parse(readFileSync(new URL("chromium.json", import.meta.url), "utf8"));
const QUIET = [...quiet, `--window-size=${WIDTH},${HEIGHT}`];

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const between = (low, high) => low + (high - low) * Math.random();

/** Everything that these packages draw comes from Math.random: a seed makes a run repeatable. */
const seedMath = (seed) => {
  let state = seed >>> 0;
  Math.random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
};

const launcher = (tool) => {
  if (tool === "rebrowser") return require("rebrowser-puppeteer-core");
  const core = require("puppeteer-core");
  if (tool !== "puppeteer_stealth") return core;
  const extra = require("puppeteer-extra").addExtra(core);
  extra.use(require("puppeteer-extra-plugin-stealth")());
  return extra;
};

const waitFor = async (page, expression, ms = 20_000) => {
  const until = Date.now() + ms;
  while (!(await page.evaluate(expression))) {
    if (Date.now() > until) throw new Error(`the page did not come to ${expression} within ${ms / 1000} s`);
    await sleep(100);
  }
};

const inView = async (page, selector) => {
  const element = await page.$(selector);
  await element.evaluate((node) => node.scrollIntoView({ block: "center" }));
  return element;
};

const typeByCharacter = async (page, text) => {
  for (const char of text) {
    await page.keyboard.type(char, { delay: between(55, 120) });
    await sleep(between(30, 160));
  }
};

const hands = {
  own: (page) => ({
    click: async (selector) => (await inView(page, selector)).click(),
    type: (text) => page.keyboard.type(text, { delay: 30 }),
  }),
  ghost_cursor: (page) => {
    const { createCursor } = require("ghost-cursor");
    const cursor = createCursor(page, { x: between(100, 900), y: between(80, 600) });
    return {
      click: async (selector) =>
        cursor.click(await inView(page, selector), { hesitate: between(60, 250), waitForClick: between(50, 130), moveDelay: 300 }),
      type: (text) => typeByCharacter(page, text),
    };
  },
  windmouse_js: (page) => {
    const WindMouse = require("windmouse");
    let at = [between(100, 900), between(80, 600)].map(Math.round);
    return {
      click: async (selector) => {
        const box = await (await inView(page, selector)).boundingBox();
        const goal = [box.x + box.width * between(0.2, 0.8), box.y + box.height * between(0.25, 0.75)].map(Math.round);
        const points = await new (WindMouse.default ?? WindMouse)(Math.floor(between(1, 9))).GeneratePoints({
          startX: at[0], startY: at[1], endX: goal[0], endY: goal[1],
          gravity: 9, wind: 3, minWait: 2, maxWait: 5, maxStep: 15, targetArea: 12,
        });
        for (const [x, y] of points) {
          await page.mouse.move(x, y);
          await sleep(between(4, 9));
        }
        await page.mouse.move(...goal);
        at = goal;
        await sleep(between(60, 250));
        await page.mouse.down();
        await sleep(between(50, 120));
        await page.mouse.up();
        await sleep(between(120, 400));
      },
      type: (text) => typeByCharacter(page, text),
    };
  },
};

const newPage = async (browser, told) => {
  if (told.tool === "fingerprint_injector") {
    const { newInjectedPage } = require("fingerprint-injector");
    const page = await newInjectedPage(browser, { fingerprintOptions: { devices: ["desktop"], browsers: ["chrome"] } });
    // With headers of a navigation on every request no other origin would take one from it, the gateway's least of all.
    await page.setExtraHTTPHeaders({});
    return page;
  }
  const [first] = await browser.pages();
  return first ?? browser.newPage();
};

const visit = async (page, told) => {
  const hand = hands[told.hand](page);
  await waitFor(page, "document.documentElement.dataset.ready === 'true'");
  await hand.click("#agree-all");
  for (const [field, text] of Object.entries(told.entries)) {
    await hand.click(`#${field}`);
    await hand.type(text);
  }
  await hand.click("#submit");
  await waitFor(page, "document.documentElement.dataset.sent === 'true'");
};

const run = async (told) => {
  seedMath(told.seed);
  const profile = mkdtempSync(join(tmpdir(), "tellwire-profile-"));
  const asRoot = process.geteuid?.() === 0;
  const browser = await launcher(told.tool).launch({
    executablePath: told.browser,
    headless: told.headless,
    // As it comes there is a viewport of 800 by 600; whoever hides has none.
    ...(told.tool === "puppeteer" ? {} : { defaultViewport: null }),
    userDataDir: profile,
    args: [...QUIET, ...(asRoot ? ["--no-sandbox"] : [])],
  });
  try {
    const page = await newPage(browser, told);
    await page.goto(told.url);
    await visit(page, told);
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
};

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => {
  lines.on("close", () => process.exit(143));
  run(JSON.parse(line)).then(
    () => process.exit(0),
    (error) => {
      process.stderr.write(`${error.name}: ${String(error.message).split("\n")[0]}\n`);
      process.exit(1);
    },
  );
});
