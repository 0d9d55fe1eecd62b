import { describe, expect, it } from 'vitest';
import { append, columns, nextSample, tickLabels, type Sample, SAMPLE_SECONDS, SAMPLES_MAX } from './samples';

describe('samples', () => {
  it('forget the oldest ones after an hour', () => {
    let samples: Sample[] = [];
    for (let n = 0; n < SAMPLES_MAX + 5; n++) samples = append(samples, { at: n, values: [n] });
    expect(samples).toHaveLength(SAMPLES_MAX);
    expect(samples[0]?.at).toBe(5);
  });

  it('have gaps where data is missing', () => {
    const samples = [
      { at: 1, values: [5, null] },
      { at: 2, values: [6] }
    ];
    expect(columns(samples, [1, 0])).toEqual([
      [1, 2],
      [null, null],
      [5, 6]
    ]);
  });
});

describe('the labels of an axis', () => {
  it('leave out what lies between whole numbers', () => {
    const rounded = (value: number) => value.toFixed(0);
    expect(tickLabels([0, 0.5, 1], rounded, true)).toEqual(['0', '', '1']);
    expect(tickLabels([0, 0.5], String, false)).toEqual(['0', '0.5']);
  });
});

describe('the pace of sampling', () => {
  it('uses less than a third of 100 requests in 15 minutes', () => {
    expect((15 * 60) / SAMPLE_SECONDS).toBeLessThanOrEqual(33);
  });

  it('is constant while enough requests remain', () => {
    expect(nextSample(null)).toBe(SAMPLE_SECONDS);
    expect(nextSample({ limit: 100, remaining: 80, resetSeconds: 180 })).toBe(SAMPLE_SECONDS);
  });

  it('pauses until the user has requests in reserve again', () => {
    // One request comes back every 9 s; 22 are missing.
    expect(nextSample({ limit: 100, remaining: 3, resetSeconds: 873 })).toBe(198);
  });

  it('goes on where the whole limit is smaller than the reserve', () => {
    expect(nextSample({ limit: 10, remaining: 9, resetSeconds: 9 })).toBe(SAMPLE_SECONDS);
  });
});
