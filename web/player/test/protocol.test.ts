import { describe, expect, it } from 'vitest';
import { parseMessage } from '../src/player-js';
import { backoff, problemOf } from '../src/retry';

describe('the Player.js protocol', () => {
  it('reads calls from text and from objects', () => {
    const call = { context: 'player.js', version: '0.0.11', method: 'setCurrentTime', value: 12 };
    const read = { method: 'setCurrentTime', value: 12, listener: undefined };
    expect(parseMessage(JSON.stringify(call))).toEqual(read);
    expect(parseMessage(call)).toEqual(read);
    expect(parseMessage({ ...call, method: 'addEventListener', value: 'play', listener: 'x' })?.listener).toBe('x');
  });

  it('ignores everything else', () => {
    const calls = [null, 7, '', '{', 'null', {}, { context: 'player.js' }, { context: 'other', method: 'play' },
      { context: 'player.js', method: 'constructor' }, { context: 'player.js', method: 7 }];
    for (const call of calls) expect(parseMessage(call), JSON.stringify(call)).toBeNull();
  });
});

describe('retries', () => {
  it('wait longer after each failure, up to a limit, and not all at the same time', () => {
    const pauses = [0, 1, 2, 10, 1000].map((failures) => backoff(failures, () => 0));
    expect(pauses).toEqual([1000, 2000, 4000, 30_000, 30_000]);
    expect(backoff(0, () => 1)).toBe(1250);
  });

  it('distinguish an expired link from a missing video, a busy service and a lost connection', () => {
    expect([401, 403, 404, 410, 500, 429, 0, undefined].map(problemOf))
      .toEqual(['expired', 'expired', 'missing', 'missing', 'busy', 'busy', 'network', 'network']);
  });
});
