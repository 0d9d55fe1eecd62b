import { describe, expect, it } from 'vitest';
import { en } from '../src/messages/en';
import { about, clock, parseTime } from '../src/time';

describe('times', () => {
  it('reads seconds, and hours, minutes and seconds with units', () => {
    const read = { '20': 20, '0': 0, '20.5': 20.5, '90s': 90, '1m30s': 90, '1m': 60, '1h2m3s': 3723, ' 7 ': 7, '1m30': 90 };
    for (const [text, seconds] of Object.entries(read)) expect(parseTime(text), text).toBe(seconds);
  });

  it('rejects text that is not a time', () => {
    for (const text of ['', ' ', '-1', 'abc', '1:30', '1e3', 'Infinity', '30s1m', '9999h9999999s', '1m-3s', null, undefined]) {
      expect(parseTime(text), String(text)).toBeNull();
    }
  });

  it('writes clocks with hours only where there are some', () => {
    expect([0, 5.9, 751, 3723, -3, Number.NaN].map(clock)).toEqual(['0:00', '0:05', '12:31', '1:02:03', '0:00', '0:00']);
  });

  it('rounds waiting times, so that they change at most every ten seconds', () => {
    const said = new Set<string>();
    for (let seconds = 60; seconds >= 0; seconds--) said.add(about(seconds, en));
    expect([...said]).toEqual([
      'in about 1 min', 'in about 50 s', 'in about 40 s', 'in about 30 s', 'in about 20 s', 'in about 10 s', 'in a few seconds'
    ]);
    expect(about(1500, en)).toBe('in about 25 min');
  });
});
