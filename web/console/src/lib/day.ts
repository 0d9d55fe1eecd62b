/** Days such as `2026-11-27`, which the service counts in UTC. */
import { i18n } from './i18n';

/** A day in the words of the interface's language. */
export function day(value: string): string {
  const format = new Intl.DateTimeFormat(i18n.locale, { dateStyle: 'medium', timeZone: 'UTC' });
  return format.format(new Date(`${value}T00:00:00Z`));
}

/** The present day in UTC. */
export function utcDay(): string {
  return new Date().toISOString().slice(0, 10);
}
