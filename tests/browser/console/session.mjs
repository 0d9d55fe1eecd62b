// Sign-in, sign-out and roles. ORDER also has `link`, a fresh one-time link.
import assert from 'node:assert/strict';
import { Console, eventually, mint, order, rest, run } from './harness.mjs';

/** The token of the tab's session. */
const tokenOf = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem('streaming-console.session'))?.token);

async function aLinkSignsInOnceAndItsCodeDoesNotStayInTheAddress() {
  const one = await Console.open();
  await one.page.goto(order.link);
  await one.page.getByRole('heading', { name: 'Upload', level: 1 }).waitFor();
  assert(!one.page.url().includes('code'), one.page.url());
  // Neither the code nor the token is in any address that the browser remembers or requested.
  const token = await tokenOf(one.page);
  const code = order.link.split('#code=')[1];
  await one.page.goBack().catch(() => null);
  await one.page.goForward().catch(() => null);
  assert(!one.page.url().includes(code));
  assert(one.requests.every(({ path, query }) => !`${path}${query}`.includes(code) && !`${path}${query}`.includes(token)));
  await one.page.reload();
  await one.page.getByRole('heading', { level: 1 }).waitFor();
  assert.equal(await tokenOf(one.page), token, 'a reload keeps the session');
  await one.assertClean();
  await one.close();

  const two = await Console.open();
  await two.page.goto(order.link);
  await two.page.getByText('This link was used before').waitFor();
  assert.equal((await two.axe()).length, 0);
  await two.close();
}

async function signingOutRevokesTheSessionButNotThePastedToken() {
  const tab = await Console.open();
  await tab.signIn();
  const token = await tokenOf(tab.page);
  assert.notEqual(token, order.token, 'a pasted token is exchanged for a session');
  assert.equal((await rest('GET', '/api/me', undefined, token)).status, 200);
  await tab.page.getByRole('button', { name: 'Sign out' }).click();
  await tab.page.getByText('You are signed out').waitFor();
  assert.equal(await tokenOf(tab.page), undefined);
  await eventually('the session is revoked', async () => (await rest('GET', '/api/me', undefined, token)).status === 401, 10);
  assert.equal((await rest('GET', '/api/me')).status, 200);
  await tab.assertClean();
  await tab.close();
}

async function aSessionThatIsRevokedElsewhereEndsWithANotice() {
  const tab = await Console.open();
  await tab.signIn();
  const token = await tokenOf(tab.page);
  await rest('POST', '/api/auth/sign-out', undefined, token);
  await eventually('the session is revoked', async () => (await rest('GET', '/api/me', undefined, token)).status === 401, 10);
  await tab.visit('/videos').catch(() => null);
  await tab.page.getByText('Your session has ended').waitFor();
  // After signing in again the person is where they were.
  await tab.page.getByLabel('Access token').fill(order.token);
  await tab.page.getByLabel('Access token').press('Enter');
  await tab.page.getByRole('heading', { name: 'Videos', level: 1 }).waitFor();
  await tab.close();
}

async function aTokenThatIsNotAcceptedIsExplained() {
  const tab = await Console.open();
  await tab.page.goto(`${order.origin}/console/`);
  await tab.page.getByLabel('Access token').fill('no-token');
  await tab.page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await tab.page.getByText('The service does not accept this token').waitFor();
  assert.equal(await tokenOf(tab.page), undefined);
  await tab.close();
}

async function aViewerSeesNoWriteControlsAndNoScreenSendsARequestThatIsRefused() {
  const viewer = await Console.open();
  await viewer.signIn(await mint('viewer'));
  const names = await viewer.page.locator('nav a').allInnerTexts();
  assert.deepEqual(names.map((name) => name.trim()), ['Videos', 'Jobs', 'Workers']);
  for (const path of ['/', '/upload', '/videos', '/jobs', '/workers', '/tokens', '/system']) {
    await viewer.page.goto(`${order.origin}/console${path}`);
    await viewer.page.getByRole('heading', { level: 1 }).waitFor();
    await viewer.page.waitForLoadState('load');
    await viewer.page.waitForTimeout(300);
  }
  assert.equal(await viewer.page.locator('input[type=file]').count(), 0);
  assert.deepEqual(viewer.requests.filter(({ status }) => status === 403), []);
  await viewer.assertClean();
  await viewer.close();
}

async function theLanguageAndTheColoursAreAChoiceThatStays() {
  const tab = await Console.open({ locale: 'de-DE' });
  await tab.page.goto(`${order.origin}/console/`);
  await tab.page.getByRole('button', { name: 'Anmelden' }).waitFor();
  assert.equal(await tab.page.locator('html').getAttribute('lang'), 'de');
  await tab.page.getByLabel('Sprache').selectOption('en');
  await tab.page.getByText('Dark', { exact: true }).locator('..').click();
  await tab.page.reload();
  await tab.page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
  assert.equal(await tab.page.locator('html').getAttribute('data-theme'), 'dark');
  await tab.close();
}

await run(
  aLinkSignsInOnceAndItsCodeDoesNotStayInTheAddress,
  signingOutRevokesTheSessionButNotThePastedToken,
  aSessionThatIsRevokedElsewhereEndsWithANotice,
  aTokenThatIsNotAcceptedIsExplained,
  aViewerSeesNoWriteControlsAndNoScreenSendsARequestThatIsRefused,
  theLanguageAndTheColoursAreAChoiceThatStays
);
