import { expect, test } from 'vitest';
import { preferred } from '.';
import de from './de';
import en from './en';

/** Every message of a catalogue with its path; functions are called with the numbers and words that they take. */
function flat(value: unknown, path = ''): [string, string][] {
  if (typeof value === 'string') return [[path, value]];
  if (typeof value === 'function') return [[path, String(value(...Array.from({ length: value.length }, () => 2)))]];
  return Object.entries(value as object).flatMap(([key, inner]) => flat(inner, `${path}.${key}`));
}

test('the catalogues have the same messages, and none is empty', () => {
  const [english, german] = [flat(en), flat(de)];
  expect(german.map(([path]) => path)).toEqual(english.map(([path]) => path));
  for (const [path, text] of [...english, ...german]) expect(text, path).toMatch(/\S/);
});

test('German is German: hardly a longer message equals the English one', () => {
  const english = new Map(flat(en));
  const same = flat(de).filter(([path, text]) => text.length > 14 && english.get(path) === text);
  expect(same.map(([path]) => path)).toEqual(['.session.command']);
});

test('the stored choice wins over the browser, and unknown languages become English', () => {
  expect(preferred('de', ['en-US'])).toBe('de');
  expect(preferred(null, ['fr', 'de-AT', 'en'])).toBe('de');
  expect(preferred('xx', ['fr'])).toBe('en');
});
