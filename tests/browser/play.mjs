// Plays one manifest in headless Chromium and prints what happened, one JSON object a line; the last
// line is the summary. Judging is the caller's business (tests/e2e/harness/browser.rs).
//
//   node play.mjs '{"origin": "http://127.0.0.1:8080", "player": "hls.js",
//     "manifest": "/api/stream/ID/hls/playlist.m3u8", "start": null, "switches": [], "text": null,
//     "renewal": null, "fast": {"rate": 4, "thumbnails": [0, 5]}, "seconds": 60}'
//
// The page and /api come from one small server, so that players see one origin.

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = path.dirname(fileURLToPath(import.meta.url));
const order = JSON.parse(process.argv[2]);
const libraries = {
  "hls.js": "node_modules/hls.js/dist/hls.min.js",
  "video.js": "node_modules/video.js/dist/video.min.js",
  "shaka": "node_modules/shaka-player/dist/shaka-player.compiled.js",
  "dash.js": "node_modules/dashjs/dist/legacy/umd/dash.all.min.js",
};
const flags = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];
const page_text = `<!doctype html><meta charset="utf-8"><video muted width="640"></video>
<script src="/library.js"></script><script src="/renewing.js"></script><script src="/page.js"></script>`;

const begun = Date.now();
let over = false;
function print(event) {
  if (over) return;
  process.stdout.write(`${JSON.stringify({ at: (Date.now() - begun) / 1000, ...event })}\n`);
}

const files = { "/library.js": libraries[order.player], "/page.js": "page.js" };
function serve(request, response) {
  const name = new URL(request.url, "http://page").pathname;
  if (name.startsWith("/api/")) {
    pass(request, response);
  } else if (files[name]) {
    response.setHeader("content-type", "text/javascript");
    fs.createReadStream(path.join(here, files[name])).pipe(response);
  } else if (name === "/renewing.js") {
    // The function that the documentation shows.
    const page = fs.readFileSync(path.join(here, "../../docs/playback.md"), "utf8");
    response.setHeader("content-type", "text/javascript");
    const blocks = page.split("```js\n").map((block) => block.split("```")[0]);
    response.end(blocks.find((block) => block.startsWith("function renewing")));
  } else if (name === "/") {
    response.setHeader("content-type", "text/html");
    response.end(page_text);
  } else {
    response.writeHead(404).end();
  }
}

// Hands a request on to the service and its answer back, untouched.
function pass(request, response) {
  const { method, headers } = request;
  const upstream = http.request(order.origin + request.url, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  upstream.on("error", (error) => response.headersSent ? response.destroy(error) : response.writeHead(502).end());
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
}

const server = http.createServer(serve);
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags,
});
try {
  const page = await browser.newPage();
  const failures = [];
  page.on("pageerror", (error) => failures.push({ source: "script", message: error.message }));
  const [renditions, tokens] = [new Set(), new Set()];
  page.on("response", (answer) => {
    const url = new URL(answer.url());
    const segment = url.pathname.match(/\/([^/]+)\/[hd]\d+\.m4s$/);
    if (segment) renditions.add(segment[1]), tokens.add(url.searchParams.get("token"));
    if (url.pathname.startsWith("/api/") && answer.status() >= 400) {
      failures.push({ source: "http", status: answer.status(), path: url.pathname });
    }
  });
  await page.exposeFunction("report", print);
  const finished = new Promise((done) => page.exposeFunction("finish", done));
  await page.addInitScript((given) => { window.order = given; }, order);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const timeout = new Promise((done) => setTimeout(done, order.seconds * 1000));
  // Standard input ends when the process that started this one has ended.
  const abandoned = new Promise((done) => process.stdin.on("end", done).resume());
  await Promise.race([finished, timeout, abandoned]);
  const summary = await page.evaluate(() => window.summary());
  summary.errors.push(...failures);
  summary.renditions = [...renditions].sort();
  summary.tokens = tokens.size;
  print(summary);
  over = true;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
}
process.exit(0);
