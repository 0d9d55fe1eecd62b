// Opens pages of the service in headless Chromium and performs commands: one JSON object a line on standard input, one
// reply a line on standard output. Judging is the caller's business (tests/e2e/harness/driver.rs).
//
//   node drive.mjs '{"origin": "http://127.0.0.1:8080"}'
//   {"id": 1, "op": "open", "page": "a", "path": "/watch/ID?muted=1"}
//   {"id": 2, "op": "state", "page": "a"}

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = path.dirname(fileURLToPath(import.meta.url));
const { origin } = JSON.parse(process.argv[2]);
const flags = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];
const NATIVE = `HTMLMediaElement.prototype.canPlayType = () => "maybe";`;

// A page of another site that embeds the player: 127.0.0.1 and localhost are different origins.
const host = http.createServer((request, response) => {
  const name = new URL(request.url, "http://host").pathname;
  if (name !== "/host.html" && name !== "/stranger.html") return response.writeHead(404).end();
  response.setHeader("content-type", "text/html");
  fs.createReadStream(path.join(here, name)).pipe(response);
});
await new Promise((done) => host.listen(0, done));
const foreign = `http://localhost:${host.address().port}`;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const contexts = new Map();
const pages = new Map();
const problems = new Map();

async function open({ page: name, path: where, context = name, native = false, width = 800, height = 600, embedded = false, fail = null }) {
  if (!contexts.has(context)) contexts.set(context, await browser.newContext({ viewport: { width, height } }));
  await pages.get(name)?.close();
  const page = await contexts.get(context).newPage();
  pages.set(name, page);
  problems.set(name, []);
  const note = (text) => problems.get(name).push(text);
  page.on("pageerror", (error) => note(`script: ${error.message}`));
  page.on("console", (message) => {
    if (/Content.Security.Policy/i.test(message.text())) note(`policy: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { protocol, origin: from, port } = new URL(request.url());
    const own = from === origin || Number(port) === host.address().port;
    if (protocol.startsWith("http") && !own) note(`request: ${request.url()}`);
  });
  await page.addInitScript({ path: path.join(here, "observe.js") });
  if (native) await page.addInitScript(NATIVE);
  if (fail) await operations.fail({ page: name, ...fail });
  const url = embedded ? `${foreign}/host.html#${encodeURIComponent(origin + where)}` : origin + where;
  const answer = await page.goto(url);
  return { status: answer.status(), foreign };
}

// The frame with the player: of an embedding page the first child.
const frame = (name) => pages.get(name).frames()[1] ?? pages.get(name).mainFrame();

async function bar(name) {
  const [x, y, width, height] = await frame(name).evaluate(() => window.observed.state().bar);
  return (share) => [x + width * share, y + height / 2];
}

const operations = {
  open,
  state: ({ page }) => frame(page).evaluate(() => window.observed.state()),
  problems: ({ page }) => problems.get(page),
  // The address in the frame and the number of players there.
  frame: async ({ page }) => ({ url: frame(page).url(), players: await frame(page).locator("stream-player").count() }),
  // The promise of play() is pending as long as nothing can be played.
  play: ({ page }) => frame(page).evaluate(() => void document.querySelector("stream-player").play().catch(() => {})),
  pause: ({ page }) => frame(page).evaluate(() => document.querySelector("stream-player").pause()),
  seek: ({ page, to }) => frame(page).evaluate((time) => document.querySelector("stream-player").seek(time), to),
  async "click bar"({ page, share }) {
    // The pointer makes the controls visible first.
    await pages.get(page).mouse.move(...(await bar(page))(share));
    await pages.get(page).mouse.click(...(await bar(page))(share));
  },
  async "hover bar"({ page, share }) {
    await pages.get(page).mouse.move(...(await bar(page))(share));
    await pages.get(page).waitForTimeout(300);
    return frame(page).evaluate(() => window.observed.preview());
  },
  blocks: ({ page, tile = null }) => frame(page).evaluate((given) => window.observed.blocks(given), tile),
  press: ({ page, key }) => pages.get(page).keyboard.press(key),
  focus: ({ page, selector }) => frame(page).locator(selector).first().focus(),
  click: ({ page, selector }) => frame(page).locator(selector).first().click(),
  choose: ({ page, name, label }) => frame(page).locator(`select[name="${name}"]`).selectOption({ label }),
  options: ({ page, name }) => frame(page).locator(`select[name="${name}"] option`).allTextContents(),
  async fail({ page, pattern, status }) {
    await pages.get(page).route(new RegExp(pattern), (route) => (status ? route.fulfill({ status }) : route.abort()));
  },
  heal: ({ page }) => pages.get(page).unrouteAll(),
  // The messages that the embedding page has received, and messages that it or an unrelated frame sends to the player.
  received: ({ page }) => pages.get(page).evaluate(() => window.received.splice(0)),
  post: ({ page, message }) => pages.get(page).evaluate((given) => window.post(given), message),
  async "post as stranger"({ page, message }) {
    await pages.get(page).evaluate((given) => window.asStranger(given), message);
  },
  shot: ({ page, file }) => pages.get(page).screenshot({ path: file }),
  async close({ page }) {
    await pages.get(page).close();
    pages.delete(page);
  },
};

const print = (reply) => process.stdout.write(`${JSON.stringify(reply)}\n`);
print({ id: 0, value: { foreign } });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, op, ...given } = JSON.parse(line);
  try {
    print({ id, value: (await operations[op](given)) ?? null });
  } catch (error) {
    print({ id, error: String(error.stack ?? error) });
  }
}
// Standard input ends with the process that started this one.
await browser.close();
process.exit(0);
