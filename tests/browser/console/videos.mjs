// The list of videos: search, filter, sort, pages, deletion of several, and events. ORDER has nothing besides.
import assert from 'node:assert/strict';
import { Console, eventually, order, rest, run } from './harness.mjs';

const tab = await Console.open();
const { page } = tab;
const titles = () => page.locator('tbody .name').allInnerTexts();
const shows = (what, expected) => eventually(what, async () => JSON.stringify(await titles()) === JSON.stringify(expected));
const two = (number) => String(number).padStart(2, '0');

/** A video of which only the upload has begun. */
async function reserve(title, visibility = 'public') {
  const encoded = (text) => Buffer.from(text).toString('base64');
  const response = await fetch(`${order.origin}/api/uploads`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${order.token}`, 'tus-resumable': '1.0.0', 'upload-length': '1000',
      'upload-metadata': `title ${encoded(title)},visibility ${encoded(visibility)}`
    }
  });
  assert.equal(response.status, 201);
  return response.headers.get('video-id');
}

async function anEmptyListSaysWhatToDoFirst() {
  await tab.signIn();
  await tab.visit('/videos');
  await page.getByText('No videos yet').waitFor();
  assert.equal(await page.getByRole('main').getByRole('link', { name: 'Upload a video' }).count(), 1);
  assert.deepEqual(await tab.axe(), []);
}

async function aNewVideoAppearsByItself() {
  const requests = tab.requests.length;
  await reserve('Clip 00');
  await shows('the new video', ['Clip 00']);
  assert.deepEqual(tab.requests.slice(requests), [], 'without another request');
}

async function pagesFollowEachOtherInTheChosenOrder() {
  for (let number = 1; number < 30; number++) await reserve(`Clip ${two(number)}`);
  await page.reload();
  const newest = Array.from({ length: 30 }, (_, index) => `Clip ${two(29 - index)}`);
  await shows('the newest page', newest.slice(0, 25));
  await page.getByRole('button', { name: 'Next page' }).click();
  await shows('the second page', newest.slice(25));
  await page.getByRole('button', { name: 'Previous page' }).click();
  await shows('the first page', newest.slice(0, 25));
  await page.getByLabel('Sort by').selectOption('title');
  await shows('by title', [...newest].reverse().slice(0, 25));
  assert(page.url().endsWith('?sort=title'));
}

async function aSearchIsSentOnceAfterTypingAndIsPartOfTheAddress() {
  const before = tab.limited().length;
  await page.getByLabel('Search titles').pressSequentially('CLIP 1', { delay: 30 });
  await shows('the matches', Array.from({ length: 10 }, (_, index) => `Clip 1${index}`));
  await eventually('the search is sent', () => tab.limited().length > before);
  await page.waitForTimeout(800);
  assert.equal(tab.limited().length, before + 1, 'one request for six letters');
  await page.reload();
  await shows('the same after a reload', Array.from({ length: 10 }, (_, index) => `Clip 1${index}`));
  assert.equal(await page.getByLabel('Search titles').inputValue(), 'CLIP 1');
  await page.getByLabel('State', { exact: true }).selectOption('ready');
  await page.getByText('No video matches').waitFor();
  await page.getByRole('button', { name: 'Show all videos' }).click();
  await eventually('all videos', async () => (await titles()).length === 25);
}

async function theNavigationAndTheHistoryRestoreSearchAndPage() {
  const box = page.getByLabel('Search titles');
  await box.fill('Clip 2');
  await eventually('the matches', async () => (await titles()).length === 10);
  await page.locator('nav a[href$="/console/videos"]').first().click();
  await eventually('all videos', async () => (await titles()).length === 25);
  assert.equal(await box.inputValue(), '', 'the box shows the search of the list');
  await page.getByRole('button', { name: 'Next page' }).click();
  const second = ['Clip 04', 'Clip 03', 'Clip 02', 'Clip 01', 'Clip 00'];
  await shows('the second page', second);
  await page.locator('tbody .name').first().click();
  await page.getByRole('heading', { level: 1, name: 'Clip 04' }).waitFor();
  await page.goBack();
  await shows('the second page again', second);
  await page.goBack();
  await eventually('the first page', async () => (await titles()).length === 25);
  await page.getByLabel('Sort by').selectOption('title');
}

async function aStateFilterFollowsEvents() {
  await page.getByLabel('Search titles').fill('');
  await page.getByLabel('State', { exact: true }).selectOption('uploading');
  await page.getByLabel('Search titles').fill('Clip 2');
  const all = Array.from({ length: 10 }, (_, index) => `Clip 2${index}`);
  await shows('uploading videos', all);
  const id = (await rest('GET', '/api/videos?q=Clip%2025')).body.videos[0].videoId;
  await rest('PATCH', `/api/videos/${id}`, { title: 'Renamed' });
  await shows('a renamed video leaves the search', all.filter((title) => title !== 'Clip 25'));
  await rest('PATCH', `/api/videos/${id}`, { title: 'Clip 25' });
  await shows('and comes back', all);
}

async function severalVideosAreDeletedByKeyboardAfterOneQuestion() {
  const box = (title) => page.getByRole('checkbox', { name: `Select ${title}` });
  await box('Clip 20').focus();
  await page.keyboard.press('Space');
  await box('Clip 22').click({ modifiers: ['Shift'] });
  assert.equal(await box('Clip 21').isChecked(), true, 'shift selects the range');
  await page.keyboard.press('Delete');
  const dialog = page.getByRole('alertdialog', { name: 'Delete 3 videos?' });
  await dialog.getByText('renditions').waitFor();
  assert.deepEqual(await tab.axe(), []);
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  assert.equal((await rest('GET', '/api/videos?q=Clip%202&pageSize=50')).body.videos.length, 10, 'Escape deletes nothing');
  await page.getByRole('button', { name: 'Delete 3 videos' }).click();
  await dialog.getByRole('button', { name: 'Delete 3 videos' }).click();
  await shows('the rest', Array.from({ length: 7 }, (_, index) => `Clip 2${index + 3}`));
  await page.getByText('3 videos deleted').waitFor();
  assert.equal((await rest('GET', '/api/videos?q=Clip%202&pageSize=50')).body.videos.length, 7);
}

async function aVideoThatIsDeletedElsewhereDisappears() {
  const id = (await rest('GET', '/api/videos?q=Clip%2029')).body.videos[0].videoId;
  await rest('DELETE', `/api/videos/${id}`);
  await shows('one less', Array.from({ length: 6 }, (_, index) => `Clip 2${index + 3}`));
  await tab.assertClean();
}

async function aRateLimitShowsWhenToGoOnAndThenGoesOn() {
  await page.route('**/api/videos?*', (route) => {
    const body = JSON.stringify({ type: 'about:blank', title: 'Too Many Requests', status: 429, code: 'rate_limited', detail: 'too many requests', errors: [] });
    return route.fulfill({ status: 429, headers: { 'retry-after': '3', 'content-type': 'application/problem+json' }, body });
  }, { times: 1 });
  await page.getByLabel('Sort by').selectOption('-title');
  await page.getByText('Too many requests. The console goes on at').waitFor();
  await shows('the list after the wait', Array.from({ length: 6 }, (_, index) => `Clip 2${8 - index}`));
  await page.getByText('Too many requests').waitFor({ state: 'hidden' });
}

await run(
  anEmptyListSaysWhatToDoFirst,
  aNewVideoAppearsByItself,
  pagesFollowEachOtherInTheChosenOrder,
  aSearchIsSentOnceAfterTypingAndIsPartOfTheAddress,
  theNavigationAndTheHistoryRestoreSearchAndPage,
  aStateFilterFollowsEvents,
  severalVideosAreDeletedByKeyboardAfterOneQuestion,
  aVideoThatIsDeletedElsewhereDisappears,
  aRateLimitShowsWhenToGoOnAndThenGoesOn
);
