// The console in headless Chromium against a running service: `node console/NAME.mjs ORDER`, ORDER being JSON with `origin`,
// `token` (an admin's) and what the script needs besides. A script prints one line of JSON per finding and ends with 0, or
// with 1 and the reason on stderr. For actions of the test (restart the service, start a worker) it asks: a line
// `{"ask": …}` goes out and one line of JSON comes back.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const order = JSON.parse(process.argv[2] ?? '{}');
const here = fileURLToPath(new URL('.', import.meta.url));
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const flags = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'
];

/** A desktop and a phone. */
export const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

const started = Date.now();
export function say(finding) {
  process.stdout.write(`${JSON.stringify({ at: (Date.now() - started) / 1000, ...finding })}\n`);
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Asks the test for something and returns its answer. */
export async function ask(what, details = {}) {
  say({ ask: what, ...details });
  const { value, done } = await answers.next();
  assert(!done, `the test did not answer ${what}`);
  return JSON.parse(value);
}

/** Repeats `probe` until it returns something true; fails after `seconds`. */
export async function eventually(what, probe, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert(Date.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Sends a request to the REST API beside the browser. */
export async function rest(method, path, body, token = order.token) {
  const headers = { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) };
  const response = await fetch(order.origin + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : null };
}

/** A token of a role, minted by the admin. */
export async function mint(role, subject = role) {
  const minted = await rest('POST', '/api/tokens', { role, subject, ttlSeconds: 3600 });
  assert.equal(minted.status, 201, JSON.stringify(minted.body));
  return minted.body.token;
}

let browser;
async function launch() {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: flags });
  return browser;
}

/** One tab of the console in a profile of its own, with a record of everything that must not happen. */
export class Console {
  /** API requests: method, path, query, status. */
  requests = [];
  /** Errors of scripts, of the console and of the Content-Security-Policy, foreign requests. */
  faults = [];

  /** `options` are those of Playwright's newContext. */
  static async open(options = {}) {
    const context = await (await launch()).newContext({ viewport: sizes.desktop, locale: 'en-GB', ...options });
    const console_ = new Console();
    console_.context = context;
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    console_.page = await context.newPage();
    console_.#listen();
    return console_;
  }

  #listen() {
    const { page, context } = this;
    page.on('pageerror', (error) => this.faults.push(`script: ${error.stack ?? error.message}`));
    page.on('console', (message) => {
      // Chromium reports each failed request; the API's refusals are checked by the tests themselves.
      const refusal = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !refusal) this.faults.push(`console: ${message.text()}`);
    });
    context.on('request', (request) => {
      const url = request.url();
      const own = url.startsWith(`${order.origin}/`) || /^(blob|data|about|chrome):/.test(url);
      if (!own && !this.allowed?.(url)) this.faults.push(`foreign request: ${url}`);
      if (request.headers()['authorization'] && !url.startsWith(`${order.origin}/api/`)) this.faults.push(`token sent to ${url}`);
    });
    context.on('response', (response) => {
      const url = new URL(response.url());
      if (url.origin !== order.origin || !url.pathname.includes('/api/')) return;
      const request = response.request();
      const path = url.pathname.slice(url.pathname.indexOf('/api/'));
      this.requests.push({ method: request.method(), path, query: url.search, status: response.status() });
    });
  }

  async signIn(token = order.token) {
    await this.page.goto(`${order.origin}/console/`);
    await this.page.getByLabel('Access token').fill(token);
    await this.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await this.page.getByRole('navigation', { name: 'Main navigation' }).first().waitFor({ state: 'attached' });
  }

  /** Opens a screen by its path within the console, without a reload where the navigation has it. */
  async visit(path) {
    const link = this.page.locator(`nav a[href$="/console${path}"]`).first();
    if (await link.isVisible().catch(() => false)) await link.click();
    else await this.page.goto(`${order.origin}/console${path}`);
    await this.page.getByRole('heading', { level: 1 }).waitFor();
  }

  async theme(scheme) {
    await this.page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
  }

  /** Violations of WCAG 2.2 AA as axe finds them, each with its element. */
  async axe() {
    await this.page.evaluate(axeSource);
    return this.page.evaluate(async () => {
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const found = await globalThis.axe.run(document, { runOnly: { type: 'tag', values: tags } });
      return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target.join(' ')} ${node.failureSummary}`));
    });
  }

  /** Writes a picture of the whole page into the git-ignored folder `tests/browser/screenshots`. */
  async shoot(name) {
    const folder = join(here, '../screenshots');
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  }

  /** Fails on any recorded fault, on a cookie, and on a request that the OpenAPI document does not have. */
  async assertClean() {
    assert.deepEqual(this.faults, []);
    assert.deepEqual(await this.context.cookies(), []);
    const { paths } = await (await fetch(`${order.origin}/api/openapi.json`)).json();
    const known = Object.entries(paths).map(([path, methods]) => [
      new RegExp(`^${path.replaceAll(/[.+*?^$()|[\]\\]/g, '\\$&').replaceAll(/\{[^}]+\}/g, '[^/]+')}$`),
      Object.keys(methods).map((method) => method.toUpperCase())
    ]);
    const undocumented = this.requests.filter(({ method, path }) => {
      const asked = method === 'HEAD' && !path.startsWith('/api/uploads/') ? 'GET' : method;
      return !known.some(([pattern, methods]) => pattern.test(path) && methods.includes(asked));
    });
    assert.deepEqual(undocumented, [], 'requests that are not in the OpenAPI document');
  }

  /** Requests that count against the general limit (docs/limits.md). */
  limited() {
    return this.requests.filter(({ path }) => !/^\/api\/(stream|uploads|playback-token)/.test(path));
  }

  async close() {
    await this.context.close();
  }
}

/** Runs a script's parts one after the other and ends the process; `only` in ORDER names the parts to run. */
export async function run(...parts) {
  const keepAlive = setInterval(() => {}, 1000);
  try {
    for (const part of parts.filter(({ name }) => !order.only || order.only.includes(name))) {
      await part();
      say({ passed: part.name });
    }
    process.exitCode = 0;
  } catch (error) {
    process.stderr.write(`${error.stack ?? error}\n`);
    for (const context of browser?.contexts() ?? []) {
      for (const page of context.pages()) {
        process.stderr.write(`${page.url()}\n${await page.locator('body').innerText().catch(() => '')}\n`);
      }
    }
    process.exitCode = 1;
  } finally {
    clearInterval(keepAlive);
    await browser?.close().catch(() => {});
    process.exit();
  }
}
