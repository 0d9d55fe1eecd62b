// Workers: without one a notice has the command that starts one; it disappears with the worker; a killed one is lost and its
// tasks go to another; a draining one takes no others. Nothing is polled or reloaded. ORDER also has `video` (uploaded, without a
// worker); the test starts, kills and adds workers when it is asked.
import assert from 'node:assert/strict';
import { Console, ask, eventually, order, rest, run, say } from './harness.mjs';

/** From a worker's connection until the notice is gone, three times the promise of 2 s. */
const GONE = 3 * 2000;

const tab = await Console.open();
const { page } = tab;
const notice = page.getByText('No worker is connected');
const row = (name) => page.getByRole('row').filter({ hasText: name });
const workers = async () => (await rest('GET', '/api/workers')).body.workers;

/** When the service first lists the worker in this state, in milliseconds since 1970. */
async function listed(name, state) {
  await eventually(`${name} is ${state}`, async () =>
    (await workers()).some((worker) => worker.name === name && worker.state === state), 90);
  return Date.now();
}

async function withoutAWorkerANoticeHasTheCommand() {
  await tab.signIn();
  await tab.visit(`/videos/${order.video}`);
  await notice.waitFor();
  assert.deepEqual(await tab.axe(), []);
  await tab.visit('/workers');
  await notice.waitFor();
  const command = await page.getByRole('textbox', { name: 'On the machine of “make run”' }).inputValue();
  assert.match(command, /streaming-worker run$/);
  assert.deepEqual(await tab.axe(), []);
}

async function theNoticeDisappearsWithAWorker() {
  const requests = tab.requests.length;
  await ask('start', { worker: 'first' });
  const start = await listed('first', 'connected');
  await notice.waitFor({ state: 'detached', timeout: GONE });
  say({ gone: Date.now() - start });
  await row('first').getByText('Connected').waitFor();
  assert.deepEqual(tab.requests.slice(requests), [], 'without another request');
  assert.deepEqual(await tab.axe(), []);
}

async function aKilledWorkerIsLostAndItsTasksGoToAnother() {
  await ask('encode');
  await eventually('the worker runs a task', async () => (await workers()).some(({ running }) => running > 0), 60);
  await row('first').getByText(/[1-9]\d* of \d+ slots/).waitFor();
  const requests = tab.requests.length;
  await ask('kill', { worker: 'first' });
  await row('first').getByText('Lost').waitFor({ timeout: 60_000 });
  await notice.waitFor();
  await ask('start', { worker: 'second' });
  await row('second').getByText('Connected').waitFor({ timeout: 60_000 });
  await row('second').getByText(/[1-9]\d* of \d+ slots/).waitFor({ timeout: 60_000 });
  const { jobs } = (await rest('GET', `/api/jobs?videoId=${order.video}`)).body;
  await eventually('the lost task runs elsewhere', async () => {
    const { tasks } = (await rest('GET', `/api/jobs/${jobs[0].jobId}`)).body;
    return tasks.some(({ worker, attempt }) => worker === 'second' && attempt > 1);
  }, 60);
  assert.deepEqual(tab.requests.slice(requests), [], 'without a reload');
}

async function drainAsksOnce() {
  await page.getByRole('button', { name: 'Drain second' }).click();
  const dialog = page.getByRole('alertdialog');
  await dialog.getByText('takes no others and exits').waitFor();
  await dialog.getByRole('button', { name: 'Drain' }).click();
  await row('second').getByText('Draining').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Drain second' }).count(), 0);
  await eventually('the service knows', async () => (await workers()).every(({ name, state }) => name !== 'second' || state === 'draining'));
}

async function everyRequestIsDocumented() {
  await tab.assertClean();
}

await run(
  withoutAWorkerANoticeHasTheCommand,
  theNoticeDisappearsWithAWorker,
  aKilledWorkerIsLostAndItsTasksGoToAnother,
  drainAsksOnce,
  everyRequestIsDocumented
);
