// Uploads in the console: a dropped file plays seconds later; an upload survives a lost reply, a lost network, a restart of
// the service and a reload; a queue waits out the limit on new uploads. ORDER also has `clip` (a video), `large` and `other` (two
// videos of about 48 MB) and `small` (a folder of six files that differ).
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Console, ask, eventually, order, rest, run, say } from './harness.mjs';

const CHUNK = 8 * 1024 * 1024;
/** Times of the product's promise, times three: a busy machine must not fail a test. */
const FIRST_FRAME = 3 * 5000;
const SHOWN = 3 * 0.5;

const console_ = await Console.open();
const { page, context } = console_;
const item = (title) => page.getByRole('article', { name: title });

/** Drops a file on the page as a file manager does. */
async function drop(file) {
  const bytes = readFileSync(file).toString('base64');
  const data = await page.evaluateHandle(async ({ bytes, name }) => {
    const transfer = new DataTransfer();
    const blob = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([blob], name, { type: 'video/mp4' }));
    return transfer;
  }, { bytes, name: basename(file) });
  for (const type of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('body', type, { dataTransfer: data });
}

/** When the list of a video first answered, in milliseconds since 1970. */
async function firstListed(id) {
  await eventually('the video is listed', async () => {
    const response = await fetch(`${order.origin}/api/stream/${id}/hls/playlist.m3u8`);
    return response.status === 200 && (await response.text()).includes('#EXT-X-STREAM-INF');
  }, 60);
  return Date.now();
}

async function signIn() {
  await console_.signIn();
}

async function aDroppedFilePlaysInPlaceAndTheNumberShownIsTheMeasuredOne() {
  // Dropping works on every screen.
  await console_.visit('/videos');
  let lastByte = 0;
  page.on('response', (response) => {
    if (response.request().method() === 'PATCH' && response.url().includes('/api/uploads/')) lastByte = Date.now();
  });
  await drop(order.clip);
  const card = item(basename(order.clip, '.mp4'));
  const link = await card.getByLabel('Link', { exact: true }).inputValue();
  const id = /\/watch\/([0-9a-f-]{36})$/.exec(link)?.[1];
  assert(id, `no link to the video before the upload ends: ${link}`);
  const listed = await firstListed(id);
  const frame = await card.locator('stream-player').evaluate(async (player) => {
    const find = () => (player.shadowRoot ?? player).querySelector('video') ?? player.querySelector('video');
    for (;;) {
      const video = find();
      if (video && video.readyState >= 2 && video.videoWidth > 0) return Date.now();
      await new Promise((done) => setTimeout(done, 20));
    }
  });
  const shown = Number(/after ([\d.]+) s/.exec(await card.getByText('Playable after').innerText())[1]);
  const measured = (listed - lastByte) / 1000;
  say({ firstFrame: (frame - lastByte) / 1000, shown, measured });
  assert(frame - lastByte <= FIRST_FRAME, `first frame ${frame - lastByte} ms after the last byte`);
  assert(Math.abs(shown - measured) <= SHOWN, `shows ${shown} s, measured ${measured} s`);
  const video = await rest('GET', `/api/videos/${id}`);
  assert.equal(shown.toFixed(1), video.body.playableSeconds.toFixed(1));
}

async function aVideoThatBecomesPrivatePlaysWithAToken() {
  const card = page.getByRole('article').filter({ has: page.locator('stream-player') }).first();
  await card.getByLabel('Visibility').selectOption('private');
  await card.locator('stream-player[src*="token="]').waitFor();
  await eventually('it plays', () => card.locator('stream-player').evaluate((player) => player.currentTime > 0.5), 30);
}

async function aLostReplyToTheFirstRequestLeavesOneUpload() {
  const [name, replies] = ['Without a reply', []];
  await context.route('**/api/uploads', async (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    const response = await route.fetch();
    replies.push([response.status(), response.headers()['video-id']]);
    return replies.length === 1 ? route.abort('connectionreset') : route.fulfill({ response });
  });
  const file = { name: `${name}.mp4`, mimeType: 'video/mp4', buffer: readFileSync(order.clip) };
  await page.locator('input[type=file]').first().setInputFiles(file);
  await item(name).getByText('Open video').waitFor({ timeout: 60_000 });
  await context.unroute('**/api/uploads');
  assert.equal(replies.length, 2);
  assert.deepEqual(replies[0], replies[1]);
  assert.equal(replies[0][0], 201);
  const { videos } = (await rest('GET', '/api/videos?pageSize=100')).body;
  assert.equal(videos.filter(({ title }) => title === name).length, 1, 'one video');
}

/** Offsets of the parts that the browser began to send, in order. */
function recordParts() {
  const parts = [];
  context.on('request', (request) => {
    if (request.method() === 'PATCH') parts.push(Number(request.headers()['upload-offset']));
  });
  return parts;
}

/** Waits until the service has acknowledged this share of the large file; returns the bytes. */
async function reached(share, parts, file = order.large) {
  const size = statSync(file).size;
  await eventually(`${share * 100} % of the file are sent`, () => (parts.at(-1) ?? 0) >= share * size, 60);
  return parts.at(-1);
}

/** The next part must not repeat more than one chunk. */
async function goesOn(acknowledged, parts, before) {
  await eventually('the upload goes on', () => parts.length > before, 90);
  assert(parts[before] >= acknowledged - CHUNK, `went on at ${parts[before]} after ${acknowledged}`);
}

async function anUploadSurvivesALostNetworkARestartAndAReload() {
  const title = 'Kept through it all';
  await console_.visit('/upload');
  const before = (await rest('GET', '/api/videos?pageSize=100')).body.videos.length;
  const creations = () => console_.requests.filter(({ method, path }) => method === 'POST' && path === '/api/uploads').length;
  const created = creations();
  const cdp = await context.newCDPSession(page);
  const slow = (uploadThroughput, offline = false) =>
    cdp.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput });
  await cdp.send('Network.enable');
  await slow(12_000_000);
  const parts = recordParts();
  await page.locator('input[type=file]').first().setInputFiles(order.large);
  const field = item(basename(order.large, '.mp4')).getByRole('textbox', { name: /Title of/ });
  await field.fill(title);
  await field.press('Enter');
  const card = item(title);

  let acknowledged = await reached(0.15, parts);
  let count = parts.length;
  await slow(12_000_000, true);
  await card.getByText('Connection lost').waitFor();
  await slow(12_000_000);
  await goesOn(acknowledged, parts, count);

  acknowledged = await reached(0.3, parts);
  count = parts.length;
  await ask('restart');
  await goesOn(acknowledged, parts, count);

  acknowledged = await reached(0.45, parts);
  await page.reload();
  count = parts.length;
  await card.getByText('Choose the same file again').waitFor();
  await card.locator('input[type=file]').setInputFiles(order.large);
  await goesOn(acknowledged, parts, count);
  await slow(-1);
  await card.getByText('Open video').waitFor({ timeout: 60_000 });

  const after = (await rest('GET', '/api/videos?pageSize=100')).body.videos;
  assert.equal(after.length, before + 1, 'one video');
  assert.equal(after.filter((video) => video.title === title).length, 1, 'the title is kept');
  assert.equal(creations(), created + 1, 'one upload');
  say({ parts });
}

async function pausingStopsAndCancellingLeavesNothingBehind() {
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 6_000_000 });
  const parts = recordParts();
  await page.locator('input[type=file]').first().setInputFiles(order.other);
  const card = item(basename(order.other, '.mp4'));
  const id = (await card.getByLabel('Link', { exact: true }).inputValue()).split('/').pop();
  await reached(0.2, parts, order.other);
  await card.getByRole('button', { name: 'Pause' }).click();
  await card.getByText('Paused').waitFor();
  const count = parts.length;
  await page.waitForTimeout(1500);
  assert.equal(parts.length, count, 'no part is sent while the upload is paused');
  await card.getByRole('button', { name: 'Resume' }).click();
  await goesOn(parts.at(-1), parts, count);
  await card.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Cancel upload' }).click();
  await card.waitFor({ state: 'detached' });
  await eventually('the video is gone', async () => (await rest('GET', `/api/videos/${id}`)).status === 404);
  await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
}

async function aFileThatIsNotAVideoIsExplained() {
  const buffer = Buffer.from('This is a text and not a video. '.repeat(100));
  await page.locator('input[type=file]').first().setInputFiles({ name: 'text.mp4', mimeType: 'video/mp4', buffer });
  const card = item('text');
  await card.getByText('Failed: unsupported or corrupt media file').waitFor({ timeout: 60_000 });
  await card.getByText('Choose another file').waitFor();
  assert(!(await card.innerText()).includes('This link works already'));
  assert.deepEqual(await console_.axe(), []);
}

async function aQueueWaitsOutTheLimitOnNewUploads() {
  const files = readdirSync(order.small).map((name) => join(order.small, name));
  await page.locator('input[type=file]').first().setInputFiles(files);
  await page.getByText('Too many new uploads').first().waitFor({ timeout: 30_000 });
  for (const file of files) {
    await item(basename(file, '.bin')).getByRole('button', { name: 'Remove from list' }).waitFor({ timeout: 90_000 });
  }
  await console_.assertClean();
}

await run(
  signIn,
  aDroppedFilePlaysInPlaceAndTheNumberShownIsTheMeasuredOne,
  aVideoThatBecomesPrivatePlaysWithAToken,
  aLostReplyToTheFirstRequestLeavesOneUpload,
  anUploadSurvivesALostNetworkARestartAndAReload,
  pausingStopsAndCancellingLeavesNothingBehind,
  aFileThatIsNotAVideoIsExplained,
  aQueueWaitsOutTheLimitOnNewUploads
);
