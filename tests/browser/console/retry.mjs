// Failures of jobs are visible: a chunk that fails shows its attempts and error, retry repeats it alone, cancel ends within seconds, and
// the video stays editable and playable all the time. ORDER also has `video` and `job`, one chunk of which fails at each attempt
// until the test answers `heal`; after `slow` every encode takes long.
import assert from 'node:assert/strict';
import { Console, ask, eventually, order, rest, run, say } from './harness.mjs';

/** A heartbeat is 5 s; what it changes is in the page three times as fast as promised at the latest. */
const HEARTBEAT = 3 * 5000;

const tab = await Console.open();
const { page } = tab;
const job = async (id = order.job) => (await rest('GET', `/api/jobs/${id}`)).body;

/** The first frame is decoded and the position advances. */
async function plays() {
  const player = page.locator('stream-player');
  await eventually('the video plays', () =>
    player.evaluate(async (element) => {
      const video = (element.shadowRoot ?? element).querySelector('video');
      if (!video) return false;
      video.muted = true;
      await video.play().catch(() => {});
      return video.currentTime > 0.2 && video.videoWidth > 0;
    }), 60);
}

async function theFilterRetryingFindsTheJob() {
  await tab.signIn();
  await tab.visit('/jobs');
  await page.getByRole('combobox', { name: 'State' }).selectOption('Retrying');
  const row = page.getByRole('row').filter({ has: page.locator(`a[href$="/jobs/${order.job}"]`) });
  await row.getByText('Retrying').waitFor({ timeout: 60_000 });
  assert.deepEqual(await tab.axe(), []);
  await row.getByRole('link').click();
  await page.getByRole('grid').waitFor();
}

async function theFailedChunkShowsItsAttemptsAndItsError() {
  await page.getByText('The job failed').waitFor({ timeout: 120_000 });
  const failed = (await job()).tasks.filter(({ state }) => state === 'failed');
  assert.equal(failed.length, 1, 'one chunk fails');
  const attempts = page.getByRole('region', { name: 'Attempts' });
  await attempts.getByText(`attempt ${failed[0].attempt}`).first().waitFor();
  await attempts.getByText(failed[0].error.message).first().waitFor();
  const cell = page.locator(`[data-state=failed][data-chunk="${failed[0].ordinal}"]`).first();
  assert.match(await cell.getAttribute('aria-label'), /failed/);
  assert.deepEqual(await tab.axe(), []);
}

async function theVideoStaysEditableAndPlayable() {
  await page.getByRole('link', { name: 'Open the video' }).click();
  await page.getByText('The part that is encoded still plays.').waitFor();
  await plays();
  await page.getByLabel('Title', { exact: true }).fill('Edited while its job has failed');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await eventually('the title is saved', async () =>
    (await rest('GET', `/api/videos/${order.video}`)).body.title === 'Edited while its job has failed');
  await page.getByRole('heading', { level: 1, name: 'Edited while its job has failed' }).waitFor();
}

async function aChangeMadeElsewhereIsToldAndLosesNothing() {
  const title = page.getByLabel('Title', { exact: true });
  await title.fill('Mine');
  await rest('PATCH', `/api/videos/${order.video}`, { title: 'Theirs' });
  await page.getByText('This video was changed elsewhere meanwhile.').waitFor();
  assert.equal(await title.inputValue(), 'Mine', 'the text is kept');
  await page.getByRole('button', { name: 'Save mine' }).click();
  await eventually('mine is saved', async () => (await rest('GET', `/api/videos/${order.video}`)).body.title === 'Mine');
  await page.getByRole('heading', { level: 1, name: 'Mine' }).waitFor();
}

async function retryRepeatsOnlyWhatIsMissing() {
  const before = new Map((await job()).tasks.map((task) => [task.taskId, task]));
  await ask('heal');
  await page.getByRole('button', { name: 'Retry', exact: true }).click();
  await page.getByText('The job is queued again.').waitFor();
  await page.getByRole('main').getByText('Completed', { exact: true }).waitFor({ timeout: 120_000 });
  await plays();
  for (const task of (await job()).tasks) {
    const earlier = before.get(task.taskId);
    if (earlier?.state === 'done') assert.equal(task.attempt, earlier.attempt, `${task.kind} ${task.ordinal} was repeated`);
  }
}

async function cancelAsksOnceAndEndsWithinAHeartbeat() {
  await ask('slow');
  await page.getByRole('button', { name: 'Encode again' }).click();
  await page.getByRole('button', { name: 'Start encoding' }).click();
  await page.getByText('A new job is queued.').waitFor();
  const { jobs } = (await rest('GET', `/api/jobs?videoId=${order.video}`)).body;
  const second = jobs.find(({ jobId }) => jobId !== order.job).jobId;
  await eventually('the new job runs', async () => (await job(second)).state === 'running', 30);
  await page.goto(`${order.origin}/console/jobs/${second}`);
  await page.getByRole('button', { name: 'Cancel job' }).click();
  const dialog = page.getByRole('alertdialog');
  await dialog.getByText('You lose:').waitFor();
  assert.deepEqual(await tab.axe(), []);
  const start = Date.now();
  await dialog.getByRole('button', { name: 'Cancel job' }).click();
  await page.getByRole('main').getByText('Cancelled', { exact: true }).first().waitFor();
  await eventually('no task runs', async () => !(await job(second)).tasks.some(({ state }) => state === 'leased'));
  say({ cancelled: Date.now() - start });
  assert(Date.now() - start < HEARTBEAT, `cancelling took ${Date.now() - start} ms`);
  await page.getByRole('link', { name: 'Open the video' }).click();
  await plays();
}

async function aJobIsGoneWithItsVideo() {
  await page.goto(`${order.origin}/console/jobs/${order.job}`);
  await page.getByRole('link', { name: 'Open the video' }).waitFor();
  await rest('DELETE', `/api/videos/${order.video}`);
  await page.getByRole('heading', { level: 1, name: 'It does not exist' }).waitFor();
}

async function everyRequestIsDocumented() {
  await tab.assertClean();
}

await run(
  theFilterRetryingFindsTheJob,
  theFailedChunkShowsItsAttemptsAndItsError,
  theVideoStaysEditableAndPlayable,
  aChangeMadeElsewhereIsToldAndLosesNothing,
  retryRepeatsOnlyWhatIsMissing,
  cancelAsksOnceAndEndsWithinAHeartbeat,
  aJobIsGoneWithItsVideo,
  everyRequestIsDocumented
);
