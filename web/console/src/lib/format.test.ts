import { expect, test } from 'vitest';
import { bitrate, bytes, duration, percent, relative, seconds, span, utc } from './format';

test('lengths carry into minutes and hours after rounding', () => {
  expect([0, 9.4, 59.6, 600.04, 3599.7, 36_061].map(duration)).toEqual(['0:00', '0:09', '1:00', '10:00', '1:00:00', '10:01:01']);
});

test('spans use the unit that fits', () => {
  expect([0.4, 8, 119, 3600, 7500].map(span)).toEqual(['0 s', '8 s', '2 min', '1 h', '2 h 5 min']);
});

test('sizes have three digits and carry into the next unit', () => {
  expect([0, 999, 999.9, 1500, 99_960, 999_600, 8_169_388, 5e15].map(bytes)).toEqual([
    '0 B', '999 B', '1 KB', '1.5 KB', '100 KB', '1 MB', '8.2 MB', '5 PB'
  ]);
});

test('only the whole is 100 per cent', () => {
  expect([0, 0.999, 1, 1.2, -1].map(percent)).toEqual(['0 %', '99 %', '100 %', '100 %', '0 %']);
});

test('bit rates, seconds and times', () => {
  expect([800_000, 1_400_000].map(bitrate)).toEqual(['800 kbit/s', '1.4 Mbit/s']);
  expect([2.31, 0.04, 100.4].map(seconds)).toEqual(['2.3', '0.0', '100']);
  expect(utc('2026-11-27T11:00:05.5Z')).toBe('2026-11-27 11:00:05 UTC');
  expect(relative(0, 90_000)).toBe('1 minute ago');
});
