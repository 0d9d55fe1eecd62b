// The whole way by keyboard alone: sign in, upload, watch, retry a job. ORDER also has `clip`.
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { Console, eventually, order, rest, run } from './harness.mjs';

const tab = await Console.open();
const { page } = tab;

/** Presses Tab until the focused element has this role and name, as a screen reader would announce them. */
async function tabTo(role, name) {
  const target = page.getByRole(role, { name, exact: typeof name === 'string' }).first();
  await target.waitFor();
  for (let presses = 0; presses < 120; presses++) {
    if (await target.evaluate((element) => element === document.activeElement || element.matches(':focus'))) return target;
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab does not reach ${role} ${name}`);
}

/** The focused element must be visible in the window, and not below a bar. */
async function assertFocusIsVisible() {
  const covered = await page.evaluate(() => {
    const box = document.activeElement.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const top = document.elementFromPoint(x, y);
    return !(top && (document.activeElement.contains(top) || top.contains(document.activeElement)));
  });
  assert.equal(covered, false, 'the focused element is covered');
}

async function signingInAndUploading() {
  await page.goto(`${order.origin}/console/`);
  await tabTo('textbox', 'Access token');
  await page.keyboard.insertText(order.token);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Upload', level: 1 }).waitFor();
  await tabTo('button', 'Choose files');
  await assertFocusIsVisible();
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')]);
  await chooser.setFiles(order.clip);
}

async function namingAndWatching() {
  const name = basename(order.clip, '.mp4');
  await tabTo('textbox', `Title of ${basename(order.clip)}`);
  await page.keyboard.press('Control+A');
  await page.keyboard.type('kk mm jj');
  await page.keyboard.press('Enter');
  const card = page.getByRole('article', { name: 'kk mm jj' });
  await card.locator('stream-player').waitFor({ timeout: 60_000 });
  assert.equal(await page.getByRole('article', { name }).count(), name === 'kk mm jj' ? 1 : 0);
  await tabTo('link', 'Open video');
  await assertFocusIsVisible();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'kk mm jj', level: 1 }).waitFor();
  const video = page.locator('stream-player video').first();
  await eventually('the player has a picture', () => video.evaluate((element) => element.readyState >= 2).catch(() => false), 30);
  const moved = async (act) => {
    const state = () => video.evaluate((element) => [element.paused, element.muted]);
    const before = await state();
    await act();
    await page.waitForTimeout(300);
    return JSON.stringify(before) !== JSON.stringify(await state());
  };
  const field = await tabTo('textbox', 'Title');
  assert.equal(await moved(() => page.keyboard.type(' km')), false, 'letters typed into a field do not move the player');
  await field.fill('kk mm jj');
  // The way to the player's own controls, which stand before the fields.
  for (let presses = 0; presses < 60; presses++) {
    if (await page.evaluate(() => document.activeElement.localName === 'stream-player')) break;
    await page.keyboard.press('Shift+Tab');
  }
  assert.equal(await moved(() => page.keyboard.press('k')), true, 'k plays while the player has the focus');
}

async function retryingAJob() {
  const id = page.url().split('/').pop();
  const { jobId } = (await rest('GET', `/api/videos/${id}`)).body;
  await eventually('the job has ended', async () => (await rest('GET', `/api/jobs/${jobId}`)).body.state === 'completed', 120);
  const second = await rest('POST', `/api/videos/${id}/transcode`, { profiles: ['360p'] });
  await rest('DELETE', `/api/jobs/${second.body.jobId}`);
  await tabTo('link', 'Jobs');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Jobs', level: 1 }).waitFor();
  await page.goto(`${order.origin}/console/jobs/${second.body.jobId}`);
  await tabTo('button', 'Retry');
  await page.keyboard.press('Enter');
  await eventually('the job runs again', async () => {
    const { state } = (await rest('GET', `/api/jobs/${second.body.jobId}`)).body;
    return state !== 'cancelled';
  });
  await tab.assertClean();
}

await run(signingInAndUploading, namingAndWatching, retryingAJob);
