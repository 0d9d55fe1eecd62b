// Sign-in, sign-out and roles. ORDER also has `link` and `another`, fresh one-time links.
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

async function aUsedLinkLeavesTheTabsSessionAndAFreshOneTakesItsPlace() {
  const tab = await Console.open();
  const { page } = tab;
  await tab.signIn(await mint('viewer', 'present'));
  const token = await tokenOf(page);
  const follow = (link) => page.evaluate((hash) => (location.hash = hash), new URL(link).hash);
  await follow(order.link);
  await page.getByText('You are still signed in').waitFor();
  await page.getByText('present', { exact: true }).waitFor();
  assert.equal(await tokenOf(page), token);
  // The same in a load of the page.
  await page.goto('about:blank');
  await page.goto(order.link);
  await page.getByText('You are still signed in').waitFor();
  assert.equal(await tokenOf(page), token);
  assert.equal((await rest('GET', '/api/me', undefined, token)).status, 200);
  await follow(order.another);
  await page.getByRole('navigation').getByText('Tokens').waitFor();
  assert(!(await page.getByText('present', { exact: true }).isVisible()));
  await eventually('the former session is revoked', async () => (await rest('GET', '/api/me', undefined, token)).status === 401, 10);
  await tab.assertClean();
  await tab.close();
}

async function aRateLimitDuringAReloadDoesNotEndTheSession() {
  const tab = await Console.open();
  const { page } = tab;
  await tab.signIn(await mint('viewer', 'patient'));
  const token = await tokenOf(page);
  const body = JSON.stringify({ type: 'about:blank', title: 'Too Many Requests', status: 429, code: 'rate_limited', detail: 'too many requests', errors: [] });
  const headers = { 'retry-after': '20', 'content-type': 'application/problem+json' };
  await page.route('**/api/me', (route) => route.fulfill({ status: 429, headers, body }));
  await page.reload();
  await page.getByText('You can go on at').waitFor();
  assert.equal(await tokenOf(page), token);
  await page.unroute('**/api/me');
  await page.reload();
  await page.getByRole('heading', { name: 'Videos', level: 1 }).waitFor();
  assert.equal(await tokenOf(page), token);
  await tab.close();
}

async function aTokenOfAProgramIsRefusedWithTheRolesThatMaySignIn() {
  for (const role of ['worker', 'dataplane']) {
    const tab = await Console.open();
    await tab.page.goto(`${order.origin}/console/`);
    await tab.page.getByLabel('Access token').fill(await mint(role));
    await tab.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await tab.page.getByText('The console is for viewers, editors and admins').waitFor();
    assert.equal(await tokenOf(tab.page), undefined);
    assert.deepEqual(tab.requests.filter(({ path }) => !/^\/api\/(auth|me)/.test(path)), []);
    await tab.close();
  }
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
  aUsedLinkLeavesTheTabsSessionAndAFreshOneTakesItsPlace,
  aRateLimitDuringAReloadDoesNotEndTheSession,
  aTokenOfAProgramIsRefusedWithTheRolesThatMaySignIn,
  signingOutRevokesTheSessionButNotThePastedToken,
  aSessionThatIsRevokedElsewhereEndsWithANotice,
  aTokenThatIsNotAcceptedIsExplained,
  aViewerSeesNoWriteControlsAndNoScreenSendsARequestThatIsRefused,
  theLanguageAndTheColoursAreAChoiceThatStays
);
