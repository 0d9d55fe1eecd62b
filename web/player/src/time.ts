/** Times: reading parameters, writing clocks and waiting times. All values are seconds. */

import type { Messages } from './messages';

/** The longest time that a parameter may name: 1000 hours, far above any video. */
const SECONDS_MAX = 3_600_000;

/** Reads `20`, `20.5`, `90s`, `1m30s` or `1h2m3s`; null if the text is anything else. */
export function parseTime(text: string | null | undefined): number | null {
  const match = /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,7}(?:\.\d{1,3})?)s?)?$/.exec(text?.trim() ?? '');
  if (!match || match[0] === '') return null;
  const [hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  const total = hours! * 3600 + minutes! * 60 + seconds!;
  return total <= SECONDS_MAX ? total : null;
}

/** `0:05`, `12:31`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/**
 * A waiting time in words. It is rounded to 10 s below a minute and to minutes above, so that a live region that shows
 * it is not read out more often than every 10 s.
 */
export function about(seconds: number, messages: Messages): string {
  if (seconds < 5) return messages.fewSeconds;
  if (seconds < 55) return messages.aboutSeconds.replace('{count}', String(Math.max(10, Math.round(seconds / 10) * 10)));
  return messages.aboutMinutes.replace('{count}', String(Math.max(1, Math.round(seconds / 60))));
}
