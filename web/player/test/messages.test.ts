import { describe, expect, it } from 'vitest';
import { catalogues, fill, language } from '../src/messages';

describe('messages', () => {
  const places = (message: string) => (message.match(/\{\w+\}/g) ?? []).sort();

  it('have the same keys and places in every language, and no empty text', () => {
    const english = catalogues.en!;
    for (const [tag, catalogue] of Object.entries(catalogues)) {
      expect(Object.keys(catalogue).sort(), tag).toEqual(Object.keys(english).sort());
      for (const [key, message] of Object.entries(catalogue)) {
        expect(message.trim(), `${tag} ${key}`).not.toBe('');
        expect(places(message), `${tag} ${key}`).toEqual(places(english[key as keyof typeof english]));
      }
    }
  });

  it('come in the asked language, otherwise in one of the browser, otherwise in English', () => {
    expect(language('de-AT', ['en'])).toBe('de');
    expect(language(null, ['fr', 'DE', 'en'])).toBe('de');
    expect(language('fr', ['de'])).toBe('en');
    expect(language(null, [])).toBe('en');
  });

  it('keep a placeholder without a value', () => {
    expect(fill('{a} of {b}', { a: 1 })).toBe('1 of {b}');
  });
});
