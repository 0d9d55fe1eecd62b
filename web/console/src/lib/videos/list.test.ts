import { expect, test } from 'vitest';
import type { Video } from '../api/types';
import { filterOf, matches, queryOf, rowsOf, type Filter } from './list';

const video = (id: string, change: Partial<Video> = {}): Video =>
  ({ videoId: id, title: id, state: 'ready', createdAt: `2026-01-0${id.length}T00:00:00Z`, ...change }) as Video;
const all: Filter = { q: '', state: '', sort: '-createdAt' };
const known = (...videos: Video[]) => new Map(videos.map((each) => [each.videoId, each]));
const ids = (videos: Video[]) => videos.map((each) => each.videoId);

test('a filter survives its way through the address, and defaults are left out', () => {
  const filter: Filter = { q: 'a b&c', state: 'failed', sort: 'title' };
  expect(filterOf(new URLSearchParams(queryOf(filter)))).toEqual(filter);
  expect(queryOf(all)).toBe('');
});

test('values that the service would refuse become the defaults', () => {
  expect(filterOf(new URLSearchParams('state=gone&sort=size&q=x'))).toEqual({ ...all, q: 'x' });
});

test('a title matches by a substring without case and without wildcards', () => {
  expect(matches(video('Holiday 100%'), { ...all, q: 'DAY 100%' })).toBe(true);
  expect(matches(video('Holiday'), { ...all, q: 'H%y' })).toBe(false);
});

test('rows show the newest state and lose deleted and no longer matching videos', () => {
  const page = [video('a', { state: 'processing' }), video('bb', { state: 'processing' }), video('ccc', { state: 'processing' })];
  const now = known(video('a', { state: 'ready' }));
  const rows = rowsOf(page, now, new Set(['bb']), { ...all, state: 'processing' }, true, new Set());
  expect(ids(rows)).toEqual(['ccc']);
});

test('a video that arrives is put where the sort order wants it, once, on the first page only', () => {
  const page = [video('ccc'), video('a')];
  const arrived = video('bb');
  const rows = (first: boolean) => rowsOf(page, known(arrived, ...page), new Set(), all, first, new Set(['bb', 'a']));
  expect(ids(rows(true))).toEqual(['ccc', 'bb', 'a']);
  expect(ids(rows(false))).toEqual(['ccc', 'a']);
});

test('a video that belongs behind the page is not shown on it', () => {
  const page = [video('a', { title: 'a' }), video('b', { title: 'b' })];
  const late = video('z', { title: 'z' });
  const rows = rowsOf(page, known(late), new Set(), { ...all, sort: 'title' }, true, new Set(['z']));
  expect(ids(rows)).toEqual(['a', 'b']);
});
