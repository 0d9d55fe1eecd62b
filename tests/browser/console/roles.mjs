// The console has the rights of its token: a viewer sees nothing that changes anything, sends no request that its role is
// refused, and is refused the same calls by the API; an admin's token is shown once. ORDER also has `video` and `job`, encoded.
import assert from 'node:assert/strict';
import { Console, eventually, mint, order, rest, run } from './harness.mjs';

/** Everything that changes something or that only an admin may read. */
const writes = [
  ['PATCH', `/api/videos/${order.video}`, { title: 'x' }],
  ['DELETE', `/api/videos/${order.video}`],
  ['POST', `/api/videos/${order.video}/transcode`, {}],
  ['DELETE', `/api/videos/${order.video}/captions/00000000-0000-7000-8000-000000000000`],
  ['DELETE', `/api/jobs/${order.job}`],
  ['POST', `/api/jobs/${order.job}/retry`],
  ['POST', '/api/workers/00000000-0000-7000-8000-000000000000/drain'],
  ['GET', '/api/tokens'],
  ['POST', '/api/tokens', { role: 'viewer', subject: 'x' }],
  ['DELETE', '/api/tokens/00000000-0000-7000-8000-000000000000'],
  ['GET', '/api/system']
];

const screens = ['/videos', `/videos/${order.video}`, '/jobs', `/jobs/${order.job}`, '/workers'];

/** Waits until the page has sent no request for a moment; the stream of events stays open. */
async function settled(tab) {
  let [count, since] = [-1, 0];
  await eventually('the page is quiet', () => {
    if (tab.requests.length !== count) [count, since] = [tab.requests.length, Date.now()];
    return Date.now() - since > 700;
  });
}

async function aViewerSeesNothingThatChangesAnything() {
  const tab = await Console.open();
  const { page } = tab;
  const viewer = await mint('viewer');
  await tab.signIn(viewer);
  const navigation = page.getByRole('navigation', { name: 'Main navigation' });
  assert.deepEqual(await navigation.getByRole('link').allInnerTexts(), ['Videos', 'Jobs', 'Workers']);
  const forbidden = /upload|encode|delete|remove|save|add a|retry|cancel job|drain|revoke|create a token/i;
  for (const screen of screens) {
    await tab.visit(screen);
    await settled(tab);
    const names = await page.getByRole('main').getByRole('button').evaluateAll((list) =>
      list.map((button) => button.getAttribute('aria-label') ?? button.textContent.trim()));
    assert.deepEqual(names.filter((name) => forbidden.test(name)), [], screen);
  }
  // Screens that the navigation omits show an error without a request.
  for (const screen of ['/tokens', '/system']) {
    await page.goto(`${order.origin}/console${screen}`);
    await page.getByText('Your token does not allow this.').waitFor();
  }
  const refused = tab.requests.filter(({ status }) => status === 401 || status === 403);
  assert.deepEqual(refused, [], 'the role is refused nothing that the console asks for');
  await tab.assertClean();
  await tab.close();
  for (const [method, path, body] of writes) {
    const { status } = await rest(method, path, body, viewer);
    assert.equal(status, 403, `${method} ${path}`);
  }
}

async function aScreenCostsAtMostFiveRequests() {
  // A private video needs one more: a playback token.
  await rest('PATCH', `/api/videos/${order.video}`, { visibility: 'private' });
  const tab = await Console.open();
  await tab.signIn();
  const session = await tab.page.evaluate(() => ({ ...sessionStorage }));
  await tab.close();
  for (const screen of [...screens, '/tokens', '/system', '/upload']) {
    const cold = await Console.open();
    await cold.context.addInitScript((stored) => {
      for (const [key, value] of Object.entries(stored)) sessionStorage.setItem(key, value);
    }, session);
    await cold.page.goto(`${order.origin}/console${screen}`);
    await cold.page.getByRole('heading', { level: 1 }).waitFor();
    await settled(cold);
    const sent = cold.limited().map(({ method, path }) => `${method} ${path}`);
    assert(sent.length <= 5, `${screen}: ${sent.join(', ')}`);
    await cold.assertClean();
    await cold.close();
  }
}

async function aTokenIsShownOnceAndRevokedWithinASecond() {
  const tab = await Console.open();
  const { page } = tab;
  await tab.signIn();
  await tab.visit('/tokens');
  await page.getByRole('button', { name: 'Create a token' }).first().click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Subject').fill('wall-display');
  await dialog.getByLabel('Role').selectOption('viewer');
  await dialog.getByRole('button', { name: 'Create', exact: true }).click();
  const token = await dialog.getByRole('textbox', { name: 'Token of wall-display' }).inputValue();
  assert.deepEqual(await tab.axe(), []);
  assert.equal((await rest('GET', '/api/videos', undefined, token)).status, 200, 'it works');
  await dialog.getByRole('button', { name: 'Done' }).click();
  assert(!(await page.content()).includes(token), 'it is nowhere in the page afterwards');
  const stored = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  assert(!stored.includes(token), 'it is stored nowhere');
  const records = async () => (await rest('GET', '/api/tokens')).body.tokens;
  const used = async () => (await records()).some((record) => record.subject === 'wall-display' && record.lastUsedDay);
  await eventually('its use is recorded', used, 15);
  await page.reload();
  const row = page.getByRole('row').filter({ hasText: 'wall-display' });
  await row.getByText('today').waitFor();
  assert(!(await page.content()).includes(token), 'the list has no token');
  await row.getByRole('button', { name: 'Revoke the token of wall-display' }).click();
  await page.getByRole('alertdialog').getByText('refused within a second').waitFor();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await row.waitFor({ state: 'detached' });
  await eventually('it is refused', async () => (await rest('GET', '/api/videos', undefined, token)).status === 401, 3);
  await tab.assertClean();
  await tab.close();
}

await run(aViewerSeesNothingThatChangesAnything, aScreenCostsAtMostFiveRequests, aTokenIsShownOnceAndRevokedWithinASecond);
