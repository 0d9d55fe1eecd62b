import { expect, test } from 'vitest';
import { ApiError } from '../api/problem';
import type { JobSummary, Video } from '../api/types';
import { fingerprint, hash, titleOf } from './fingerprint';
import { Item } from './item.svelte';
import { next } from './retry';
import { stageOf } from './stage';
import { UploadStore, type Stored } from './store';
import { below } from './transfer';

const error = (status: number, code: ApiError['code'] = 'unavailable', retryAt: number | null = null) =>
  new ApiError(status, code, '', [], retryAt);

test('retries outlast a restart of 60 s and never wait longer than 10 s', () => {
  let waited = 0;
  for (let failures = 0; failures < 100; failures++) {
    const decision = next(error(0, 'offline'), failures);
    if (decision.act !== 'wait') throw new Error('gave up');
    expect(decision.milliseconds).toBeLessThanOrEqual(10_000);
    waited += decision.milliseconds;
  }
  expect(waited).toBeGreaterThan(600_000);
});

test('a 429 is waited out until the time that the service names', () => {
  expect(next(error(429, 'rate_limited', 90_000), 0, 0)).toEqual({ act: 'wait', milliseconds: 90_000, why: 'limited' });
  expect(next(error(429, 'quota_exceeded'), 3)).toMatchObject({ act: 'wait', why: 'quota' });
});

test('a conflict, a lock and a checksum are tried again; a refusal is not', () => {
  for (const status of [408, 409, 423, 460, 502, 503, 504]) expect(next(error(status), 0).act).toBe('wait');
  for (const status of [400, 403, 413, 415, 422]) expect(next(error(status), 0).act).toBe('fail');
  expect(next(error(401), 0).act).toBe('sign-in');
  expect(next(error(404), 0).act).toBe('unknown');
});

test('an internal error is left to the person after eight attempts', () => {
  expect(next(error(500), 7).act).toBe('wait');
  expect(next(error(500), 8).act).toBe('fail');
});

test('the same content has the same fingerprint under any name, other content another', async () => {
  const bytes = new Uint8Array(500_000).map((_, index) => (index * 31) % 251);
  const one = await fingerprint(new File([bytes], 'a.mp4'), 'e');
  expect(await fingerprint(new File([bytes], 'b.mov'), 'e')).toBe(one);
  expect(await fingerprint(new File([bytes], 'a.mp4'), 'other')).not.toBe(one);
  for (const at of [0, 250_000, 499_999]) {
    const changed = bytes.slice();
    changed[at]! ^= 1;
    expect(await fingerprint(new File([changed], 'a.mp4'), 'e')).not.toBe(one);
  }
  expect(await fingerprint(new File([bytes.slice(1)], 'a.mp4'), 'e')).not.toBe(one);
  expect(hash(new Uint8Array())).not.toBe(hash(new Uint8Array([0])));
});

test('a title is the name without its extension, at most 200 characters', () => {
  expect(titleOf('Holiday 2026.final.mp4')).toBe('Holiday 2026.final');
  expect(titleOf('.hidden')).toBe('.hidden');
  expect(titleOf('noextension')).toBe('noextension');
  expect(titleOf(`${'x'.repeat(300)}.mp4`)).toHaveLength(200);
});

const entry: Stored = {
  fingerprint: 'f', name: 'a.mp4', size: 100, title: 'kept', visibility: 'private', url: '/api/uploads/1', videoId: 'v', sent: 40, since: 1000
};

test('stored uploads are those of one person, and expire', () => {
  const map = new Map<string, string>();
  const storage = { getItem: (key: string) => map.get(key) ?? null, setItem: (key: string, value: string) => void map.set(key, value) };
  const mine = new UploadStore('t/ana', storage);
  mine.put({ ...entry, since: Date.now() });
  mine.put({ ...entry, since: Date.now(), sent: 60 });
  expect(mine.all().map(({ sent }) => sent)).toEqual([60]);
  expect(new UploadStore('t/bob', storage).all()).toEqual([]);
  expect(mine.all(Date.now() + 8 * 86_400_000)).toEqual([]);
  mine.remove(entry.url);
  expect(mine.all()).toEqual([]);
});

test('a storage that is full or damaged does not stop an upload', () => {
  const full = { getItem: () => '{', setItem: () => { throw new DOMException('full', 'QuotaExceededError'); } };
  const store = new UploadStore('t/ana', full);
  expect(() => store.put(entry)).not.toThrow();
  expect(store.all()).toEqual([]);
});

test('a restored upload keeps its title and waits for its file', () => {
  const item = Item.restore(entry);
  expect([item.title, item.visibility, item.phase, item.fraction]).toEqual(['kept', 'private', 'needs-file', 0.4]);
  expect(item.stored()).toEqual(entry);
});

test('the speed is a mean of measurements at least half a second apart', () => {
  const item = new Item(null, 'a', 10_000_000, 'public');
  item.progressed(0, 0);
  item.progressed(100_000, 100);
  expect(item.speed).toBe(0);
  item.progressed(1_000_000, 1000);
  expect(item.speed).toBe(1_000_000);
  expect(item.secondsLeft).toBe(9);
  item.progressed(3_000_000, 2000);
  expect(item.speed).toBeCloseTo(1_300_000);
});

test('an upload keeps the path prefix that a proxy adds', () => {
  expect(below('https://host/video/api/uploads', 'https://host/api/uploads/01')).toBe('https://host/video/api/uploads/01');
});

test('the stages after the last byte', () => {
  const video = (change: Partial<Video>) => ({ state: 'processing', ...change }) as Video;
  const job = (change: Partial<JobSummary>) => ({ state: 'running', progress: 0, ...change }) as JobSummary;
  expect(stageOf(null, null).kind).toBe('examining');
  expect(stageOf(video({ state: 'probing' }), null).kind).toBe('examining');
  expect(stageOf(video({}), job({ state: 'queued', queuePosition: 3 }))).toEqual({ kind: 'queued', place: 3 });
  expect(stageOf(video({}), job({ progress: 42.5 }))).toEqual({ kind: 'encoding', progress: 0.425 });
  expect(stageOf(video({ state: 'ready' }), job({ state: 'completed' })).kind).toBe('ready');
  const failed = video({ state: 'failed', error: { code: 'x', message: 'no video track' } });
  expect(stageOf(failed, null)).toEqual({ kind: 'failed', message: 'no video track' });
  expect(stageOf(video({ state: 'uploaded' }), null).kind).toBe('uploaded');
});
