import { describe, expect, it } from 'vitest';
import { atEdge, complete, parseGrowth, reachable, secondsUntil, watched, worthResuming, type Growth } from '../src/growth';
import { en } from '../src/messages/en';
import { encodedPercent, statusText, type Situation } from '../src/notices';

const growing: Growth = { state: 'growing', duration: 600, edge: 100, etaSeconds: 50 };

describe('growth', () => {
  it('reads the data of a state event', () => {
    expect(parseGrowth('{"state":"growing","duration":600.04,"edge":84,"etaSeconds":null}'))
      .toEqual({ state: 'growing', duration: 600.04, edge: 84, etaSeconds: null });
    expect(parseGrowth('{"state":"waiting"}')).toEqual({ state: 'waiting', duration: null, edge: 0, etaSeconds: null });
    for (const text of ['', '{', 'null', '[]', '{"state":"other"}', '{"edge":1}', '7']) expect(parseGrowth(text), text).toBeNull();
  });

  it('reaches a position only once something behind it is listed', () => {
    expect([reachable(99, 100, false), reachable(100, 100, false), reachable(480, 100, false)]).toEqual([true, false, false]);
    expect(reachable(600, 600, true)).toBe(true);
  });

  it('takes a stall for waiting for the encoder only at the edge of a growing video', () => {
    expect([atEdge(99.9, 100, false), atEdge(50, 100, false), atEdge(99.9, 100, true)]).toEqual([true, false, false]);
  });

  it('counts as complete once all of the probed duration is listed, without the end of the playlists', () => {
    expect([complete(599.95, 600), complete(590, 600), complete(0, Number.NaN)]).toEqual([true, false, false]);
  });

  it('estimates when a position is encoded by its share of the remaining part', () => {
    expect(secondsUntil(350, growing, 0)).toBe(25);
    expect(secondsUntil(600, growing, 10)).toBe(40);
    expect(secondsUntil(110, growing, 30)).toBe(0);
    expect(secondsUntil(350, { ...growing, etaSeconds: null }, 0)).toBeNull();
    expect(secondsUntil(350, { ...growing, state: 'failed' }, 0)).toBeNull();
  });

  it('offers to continue neither at the beginning nor at the end', () => {
    expect([5, 10, 300, 569, 571].map((at) => worthResuming(at, 600))).toEqual([false, true, true, true, false]);
    expect([watched(569, 600), watched(570, 600), watched(1, 0)]).toEqual([false, true, false]);
  });
});

describe('notices', () => {
  const now: Situation = {
    messages: en, growth: growing, since: 0, edge: 100, duration: 600, final: false, pending: null, playing: true,
    stalled: false, position: 0, problem: null, sound: null
  };

  it('shows when a remembered position is ready, and never that the video is live', () => {
    expect(statusText({ ...now, pending: 350 })).toBe('5:50 is ready in about 30 s');
    expect(statusText({ ...now, pending: 350, growth: null })).toContain('5:50 is not encoded yet');
    const all = Object.values(en).join(' ');
    expect(all).not.toMatch(/\blive\b/i);
  });

  it('shows that it waits for the encoder only when playback has reached the edge', () => {
    expect(statusText({ ...now, stalled: true, position: 99.9 })).toBe('Waiting for the encoder');
    expect(statusText({ ...now, stalled: true, position: 40 })).toBe('');
    expect(statusText({ ...now, stalled: false, position: 99.9 })).toBe('');
    expect(statusText({ ...now, stalled: true, position: 0, edge: 0 })).toBe('');
    expect(statusText({ ...now, stalled: true, position: 599.9, edge: 600 })).toBe('');
  });

  it('shows how far a video plays whose encoding failed', () => {
    const growth: Growth = { ...growing, state: 'failed' };
    expect(statusText({ ...now, growth, stalled: true, position: 99.9 })).toContain('up to 1:40');
    expect(encodedPercent({ ...now, growth })).toBeNull();
  });

  it('shows the encoded share until the end, and not 100 percent before it', () => {
    expect(encodedPercent(now)).toBe(16);
    expect(encodedPercent({ ...now, edge: 600 })).toBe(99);
    expect(encodedPercent({ ...now, edge: 600, final: true })).toBeNull();
  });
});
