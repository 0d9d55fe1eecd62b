import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PlaybackToken } from '../src/token';

const BASE = 'https://video.example/base/watch/ID';
const PLAYLIST = '../api/stream/ID/hls/playlist.m3u8?token=first';

/** The replies of the service, in order; null for a lost connection. */
let replies: (Response | null)[] = [];
let asked: [string, string][] = [];

const early = (seconds: number) => new Response('{}', { status: 409, headers: { 'Retry-After': String(seconds) } });
const renewed = (token: string, seconds: number) =>
  Response.json({ token, expiresAt: new Date(Date.now() + 1000 * seconds).toISOString() });

beforeEach(() => {
  vi.useFakeTimers();
  [replies, asked] = [[], []];
  vi.stubGlobal('document', { baseURI: BASE });
  vi.stubGlobal('fetch', async (url: string, { body }: { body: string }) => {
    asked.push([url, JSON.parse(body).token]);
    const reply = replies.shift();
    if (!reply) throw new TypeError('Failed to fetch');
    return reply;
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('the playback token', () => {
  it('is renewed when the service permits it, below a path prefix, and put into every address', async () => {
    replies = [early(6)];
    const token = PlaybackToken.of(PLAYLIST)!;
    await vi.advanceTimersByTimeAsync(5900);
    expect(asked).toEqual([['https://video.example/base/api/playback-token/renew', 'first']]);
    expect(token.fresh('/a.m4s?token=old&x=1')).toBe('/a.m4s?token=first&x=1');
    replies = [renewed('se$&cond=', 10)];
    await vi.advanceTimersByTimeAsync(200);
    expect(token.fresh('/a.m4s?x=1&token=old#end')).toBe('/a.m4s?x=1&token=se%24%26cond%3D#end');
    expect(token.fresh('/public.m4s')).toBe('/public.m4s');
    replies = [renewed('third', 10)];
    await vi.advanceTimersByTimeAsync(7800);
    expect(asked).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(300);
    expect(asked[2]![1]).toBe('se$&cond=');
    expect(token.fresh('?token=')).toBe('?token=third');
    token.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(3);
  });

  it('is asked for again after a lost connection, a busy service and a limit, and never after a refusal', async () => {
    const busy = () => new Response('', { status: 503 });
    const limited = new Response('', { status: 429, headers: { 'Retry-After': '40' } });
    replies = [null, busy(), limited, new Response('{}', { status: 403 })];
    PlaybackToken.of(PLAYLIST);
    await vi.advanceTimersByTimeAsync(4000);
    expect(asked).toHaveLength(3);
    await vi.advanceTimersByTimeAsync(35_000);
    expect(asked).toHaveLength(3);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked).toHaveLength(4);
  });

  it('is absent from the addresses of public videos and of other services', () => {
    const others = [null, '../api/stream/ID/events', '../api/stream/ID/events?token=', 'https://cdn.example/x.m3u8?token=a'];
    for (const url of others) expect(PlaybackToken.of(url), String(url)).toBeNull();
    expect(asked).toEqual([]);
  });
});
