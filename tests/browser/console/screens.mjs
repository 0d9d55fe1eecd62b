// Every screen in both themes, on a desktop and a phone, and at 400 % zoom: accessible, within the budgets, without a request
// that leaves the origin, a cookie or a violation of the Content-Security-Policy. Writes screenshots. ORDER also has `clip`.
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { Console, eventually, order, rest, run, say, sizes } from './harness.mjs';

/** gzip bytes of scripts that the first load of the console may have. */
const FIRST_LOAD_MAX = 100_000;
/** gzip bytes of scripts that the player may add. */
const PLAYER_MAX = 260_000;
/** Limited requests that opening a screen may cost. */
const REQUESTS_MAX = 5;
/** 1280 × 1024 at 400 %. */
const ZOOMED = { width: 320, height: 256 };
/** No video and no job has this id. */
const UNKNOWN = '00000000-0000-7000-8000-000000000000';

const tab = await Console.open();
const { page } = tab;

/** The gzip size of each script that the page has loaded so far. */
async function scripts() {
  const urls = await page.evaluate(() => performance.getEntriesByType('resource').map((entry) => entry.name));
  const sizes = {};
  for (const url of new Set(urls.filter((each) => new URL(each).pathname.endsWith('.js')))) {
    const response = await fetch(url, { headers: { 'accept-encoding': 'gzip' } });
    sizes[new URL(url).pathname] = Number(response.headers.get('content-length') ?? (await response.arrayBuffer()).byteLength);
  }
  return sizes;
}

const sum = (sizes) => Object.values(sizes).reduce((total, size) => total + size, 0);

/** Checks the present screen everywhere and takes its pictures. */
async function survey(name) {
  const violations = [];
  for (const scheme of ['light', 'dark']) {
    await tab.theme(scheme);
    for (const [size, viewport] of Object.entries(sizes)) {
      await page.setViewportSize(viewport);
      await tab.shoot(`${name}-${scheme}-${size}`);
    }
    await page.setViewportSize(sizes.desktop);
    violations.push(...(await tab.axe()).map((each) => `${name}, ${scheme}: ${each}`));
  }
  await page.setViewportSize(ZOOMED);
  violations.push(...(await tab.axe()).map((each) => `${name}, 400 %: ${each}`));
  const overflow = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
  if (overflow > 0) violations.push(`${name}: ${overflow} px wider than a window of 320 px`);
  await page.setViewportSize(sizes.desktop);
  await tab.theme('light');
  return violations;
}

const found = [];
let video;
let job;

async function theFirstLoadIsSmallAndSigningInIsAccessible() {
  await page.goto(`${order.origin}/console/`);
  await page.getByLabel('Access token').waitFor();
  found.push(...(await survey('sign-in')));
  await tab.signIn();
  const loaded = await scripts();
  say({ firstLoad: sum(loaded), files: Object.keys(loaded).length });
  assert(sum(loaded) <= FIRST_LOAD_MAX, `first load: ${JSON.stringify(loaded)}`);
  found.push(...(await survey('upload-empty')));
}

async function thePlayerIsSmall() {
  const before = Object.keys(await scripts());
  await page.locator('input[type=file]').first().setInputFiles(order.clip);
  const card = page.getByRole('article', { name: basename(order.clip, '.mp4') });
  const link = await card.getByLabel('Link', { exact: true }).inputValue();
  video = link.split('/').pop();
  await card.getByText('Playable after').waitFor({ timeout: 60_000 });
  await card.locator('stream-player').waitFor();
  await page.waitForTimeout(1000);
  const added = Object.entries(await scripts()).filter(([path]) => !before.includes(path));
  say({ player: sum(Object.fromEntries(added)) });
  assert(sum(Object.fromEntries(added)) <= PLAYER_MAX, JSON.stringify(added));
  found.push(...(await survey('upload-playing')));
  job = (await rest('GET', `/api/videos/${video}`)).body.jobId;
}

async function everyScreenIsAccessibleAndCostsFewRequests() {
  await rest('POST', '/api/tokens', { role: 'viewer', subject: 'press', ttlSeconds: 86_400 });
  const screens = [
    ['videos', '/videos'], ['video', `/videos/${video}`], ['jobs', '/jobs'], ['job', `/jobs/${job}`],
    ['workers', '/workers'], ['tokens', '/tokens'], ['system', '/system'], ['missing', '/nowhere'],
    ['video-missing', `/videos/${UNKNOWN}`], ['job-missing', `/jobs/${UNKNOWN}`], ['job-invalid', '/jobs/no-id']
  ];
  for (const [name, path] of screens) {
    const before = tab.limited().length;
    await page.goto(`${order.origin}/console${path}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.waitForTimeout(1500);
    const cost = tab.limited().slice(before);
    assert(cost.length <= REQUESTS_MAX, `${name} costs ${JSON.stringify(cost)}`);
    found.push(...(await survey(name)));
  }
}

async function openDialogsAndMenusAreAccessible() {
  await tab.visit('/videos');
  await page.getByRole('checkbox', { name: /^Select / }).nth(1).check();
  await page.getByRole('button', { name: /^Delete/ }).first().click();
  await page.getByRole('alertdialog').waitFor();
  found.push(...(await survey('delete-dialog')));
  await page.keyboard.press('Escape');
  await page.setViewportSize(sizes.phone);
  await page.getByRole('button', { name: 'Menu' }).click();
  await tab.shoot('menu-light-phone');
  found.push(...(await tab.axe()).map((each) => `menu: ${each}`));
  await page.getByLabel('Language').selectOption('de');
  await page.getByRole('heading', { level: 1, name: 'Videos' }).waitFor();
  await page.setViewportSize(sizes.desktop);
  await page.goto(`${order.origin}/console/upload`);
  await page.getByText('Videos hierher ziehen').waitFor();
  await tab.shoot('upload-german-light-desktop');
}

async function nothingLeavesTheOriginAndNoCookieIsSet() {
  assert.deepEqual(found, []);
  await tab.assertClean();
}

await run(
  theFirstLoadIsSmallAndSigningInIsAccessible,
  thePlayerIsSmall,
  everyScreenIsAccessibleAndCostsFewRequests,
  openDialogsAndMenusAreAccessible,
  nothingLeavesTheOriginAndNoCookieIsSet
);
