import { expect, test } from 'vitest';
import { displayState, displayTaskState, toneOf } from '../states';
import { classOf } from './limits.svelte';
import { asApiError, errorOf, retryAfter } from './problem';

test('requests count for the limits that docs/limits.md names', () => {
  const cases: [string, string, string | null][] = [
    ['GET', '/api/videos', 'general'], ['POST', '/api/auth/session', 'general'], ['GET', '/api/events', 'general'],
    ['POST', '/api/uploads', 'upload'], ['PUT', '/prefix/api/videos/1/source', 'upload'], ['POST', '/api/videos/upload', 'upload'],
    ['PATCH', '/api/uploads/1', null], ['HEAD', '/api/uploads/1', null], ['GET', '/health', null],
    ['GET', '/api/stream/1/poster.jpg', 'stream'], ['POST', '/api/playback-token/renew', 'stream'],
    ['POST', '/api/videos/1/playback-token', 'general']
  ];
  for (const [method, path, kind] of cases) expect(classOf(method, path), `${method} ${path}`).toBe(kind);
});

test('a problem keeps its code, fields, request id and the time to go on', () => {
  const headers = { 'retry-after': '9', 'x-request-id': 'r1' };
  const body = { type: 'about:blank', title: 'x', status: 429, code: 'rate_limited', detail: 'too many requests', errors: [] };
  const error = errorOf(new Response(null, { status: 429, headers }), body, 1000);
  expect([error.status, error.code, error.retryAt, error.requestId]).toEqual([429, 'rate_limited', 10_000, 'r1']);
});

test('a reply that is not a problem and a missing reply have codes of their own', () => {
  expect(errorOf(new Response('<html>', { status: 502 }), '<html>').code).toBe('unreadable');
  expect(asApiError(new TypeError('Failed to fetch'))).toMatchObject({ status: 0, code: 'offline' });
  expect([retryAfter('12'), retryAfter('Wed, 21 Oct 2026 07:28:00 GMT'), retryAfter(null)]).toEqual([12, null, null]);
});

test('states are shown in the words of the glossary', () => {
  expect([displayState('leased'), displayState('leased', 2), displayState('running', 3), displayState('blocked')]).toEqual([
    'running', 'retrying', 'retrying', 'queued'
  ]);
  expect([displayState('ready'), displayTaskState('ready')]).toEqual(['ready', 'queued']);
  expect([toneOf('lost'), toneOf('connected'), toneOf('something new')]).toEqual(['bad', 'ok', 'idle']);
});
