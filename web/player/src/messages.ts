/** The catalogues of messages, compiled in. */

import { de } from './messages/de';
import { en } from './messages/en';

/** The messages of one language. */
export type Messages = Record<keyof typeof en, string>;

/** Every catalogue by its language. */
export const catalogues: Record<string, Messages> = { en, de };

/** The catalogue's language for `lang` (`de-AT` gives `de`), otherwise for the browser's languages, otherwise English. */
export function language(lang: string | null, browser: readonly string[]): string {
  const wanted = lang ? [lang] : browser;
  const known = wanted.map((tag) => tag.toLowerCase().split('-')[0]!).find((tag) => tag in catalogues);
  return known ?? 'en';
}

/** Replaces every `{name}` of a message. */
export function fill(message: string, values: Record<string, string | number>): string {
  return message.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
