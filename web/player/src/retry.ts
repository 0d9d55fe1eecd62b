/** When to repeat what failed. */

/** The pause before attempt `failures`, in milliseconds: 1 s doubled up to 30 s, and up to a quarter more at random. */
export function backoff(failures: number, random: () => number = Math.random): number {
  const pause = Math.min(30_000, 1000 * 2 ** Math.min(failures, 10));
  return pause * (1 + random() / 4);
}

/** The reasons why playback stops, in the terms of the messages. */
export type Problem = 'expired' | 'missing' | 'busy' | 'network' | 'media' | 'unsupported';

/** Whether a problem passes by itself, so that the player tries again without being asked. */
export const passes = (problem: Problem) => problem === 'network' || problem === 'busy';

/** The problem behind an HTTP status; 0 or undefined means that no reply came. */
export function problemOf(status: number | undefined): Problem {
  if (status === 401 || status === 403) return 'expired';
  if (status === 404 || status === 410) return 'missing';
  return status !== undefined && status >= 400 ? 'busy' : 'network';
}
