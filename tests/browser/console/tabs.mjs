// Many tabs at once: a browser opens six connections to a server, so that tabs in the background must not keep theirs. Chromium
// without a window shows every tab, so the tests set `document.hidden` as the browser does. ORDER has nothing besides.
import assert from 'node:assert/strict';
import { Console, eventually, order, rest, run } from './harness.mjs';

/** More than the connections of a browser to one server. */
const TABS = 8;

const first = await Console.open();
const { context } = first;
await context.addInitScript(() => {
  let hidden = false;
  Object.defineProperty(Document.prototype, 'hidden', { get: () => hidden });
  globalThis.hide = (value) => {
    hidden = value;
    document.dispatchEvent(new Event('visibilitychange'));
  };
});

/** A video of which only the upload has begun. */
async function reserve(title) {
  const metadata = `title ${Buffer.from(title).toString('base64')}`;
  const headers = { authorization: `Bearer ${order.token}`, 'tus-resumable': '1.0.0', 'upload-length': '1000', 'upload-metadata': metadata };
  const response = await fetch(`${order.origin}/api/uploads`, { method: 'POST', headers });
  assert.equal(response.status, 201);
  return response.headers.get('video-id');
}

/** Counts the streams of events that a page has open; the headers of the last one. */
function streams(page) {
  const open = { count: 0, headers: {} };
  const isStream = (request) => request.url().includes('/events');
  page.on('request', (request) => isStream(request) && (open.count++, (open.headers = request.headers())));
  for (const end of ['requestfailed', 'requestfinished']) page.on(end, (request) => isStream(request) && open.count--);
  return open;
}

const hide = (page, hidden) => page.evaluate((value) => globalThis.hide(value), hidden);
const row = (page, title) => page.locator('tbody .name', { hasText: title });

async function tabsInTheBackgroundLeaveTheConnectionsToTheOthers() {
  const video = await reserve('Before');
  await first.signIn();
  const session = await first.page.evaluate(() => sessionStorage.getItem('streaming-console.session'));
  await context.addInitScript((value) => location.protocol.startsWith('http') && sessionStorage.setItem('streaming-console.session', value), session);
  const tabs = [];
  for (let number = 1; number <= TABS; number++) {
    const page = await context.newPage();
    const open = streams(page);
    tabs.push({ page, open });
    await page.goto(`${order.origin}/console/videos`);
    await row(page, 'Before').waitFor();
    await hide(page, true);
    if (number % 4 === 0) await eventually('the streams end', () => tabs.every((tab) => tab.open.count === 0), 30);
  }
  await rest('PATCH', `/api/videos/${video}`, { title: 'After' });
  const [{ page, open }] = tabs;
  const lists = first.requests.filter(({ path }) => path === '/api/videos').length;
  await hide(page, false);
  await row(page, 'After').waitFor();
  assert(open.headers['last-event-id'], 'the stream goes on behind its last event');
  assert.equal(first.requests.filter(({ path }) => path === '/api/videos').length, lists, 'without another request');
  for (const tab of tabs) await tab.page.close();
}

async function aTabThatIsOpenedInTheBackgroundIsCurrentWhenItIsShown() {
  const video = await reserve('Early');
  const page = await context.newPage();
  const open = streams(page);
  await page.addInitScript(() => globalThis.hide(true));
  await page.goto(`${order.origin}/console/videos`);
  await row(page, 'Early').waitFor();
  assert.equal(open.count, 0);
  await rest('PATCH', `/api/videos/${video}`, { title: 'Late' });
  await hide(page, false);
  await row(page, 'Late').waitFor();
  assert.equal(open.count, 1);
  await page.close();
}

async function aWatchPagePausesInTheBackgroundAndSaysThatItsVideoWasDeleted() {
  const video = await reserve('Watched');
  const page = await context.newPage();
  const open = streams(page);
  await page.goto(`${order.origin}/watch/${video}`);
  await page.getByText('This video is being prepared').waitFor();
  await eventually('its stream is open', () => open.count === 1);
  await hide(page, true);
  await eventually('its stream ends', () => open.count === 0, 30);
  await hide(page, false);
  await eventually('its stream is open again', () => open.count === 1);
  await rest('DELETE', `/api/videos/${video}`);
  await page.getByText('This video was not found').waitFor();
  await page.getByText('This video is being prepared').waitFor({ state: 'hidden' });
  await page.close();
}

await run(
  tabsInTheBackgroundLeaveTheConnectionsToTheOthers,
  aTabThatIsOpenedInTheBackgroundIsCurrentWhenItIsShown,
  aWatchPagePausesInTheBackgroundAndSaysThatItsVideoWasDeleted
);
