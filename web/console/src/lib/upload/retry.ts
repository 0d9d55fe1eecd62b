/** The next step after a failed request of an upload. */
import type { ApiError } from '../api/problem';

export type Next =
  /** Send it again after this many milliseconds; `why` is shown meanwhile. */
  | { act: 'wait'; milliseconds: number; why: 'lost' | 'limited' | 'quota' }
  /** Go on after the next sign-in. */
  | { act: 'sign-in' }
  /** The service does not know the upload: it is complete, expired or deleted. */
  | { act: 'unknown' }
  | { act: 'fail' };

const FIRST = 500;
const LONGEST = 10_000;
/** A wait without a `Retry-After`, in milliseconds. */
const QUOTA_WAIT = 15_000;
/** Failures of the service itself in a row after which a person decides. */
const INTERNAL_MAX = 8;

/**
 * Decides by the error and the number of failures in a row. Lost connections and restarts are retried for as long as the tab
 * is open: at first quickly, then every 10 s.
 */
export function next(error: ApiError, failures: number, now = Date.now()): Next {
  const backoff = Math.min(LONGEST, FIRST * 2 ** Math.min(failures, 10));
  const asked = error.retryAt === null ? null : Math.max(500, error.retryAt - now);
  if (error.code === 'quota_exceeded') return { act: 'wait', milliseconds: asked ?? QUOTA_WAIT, why: 'quota' };
  if (error.status === 429) return { act: 'wait', milliseconds: asked ?? QUOTA_WAIT, why: 'limited' };
  if (error.status === 401) return { act: 'sign-in' };
  if (error.status === 404 || error.status === 410) return { act: 'unknown' };
  if (error.status === 500 && failures >= INTERNAL_MAX) return { act: 'fail' };
  const passing = error.status === 0 || error.status >= 500 || [408, 409, 423, 460].includes(error.status);
  return passing ? { act: 'wait', milliseconds: Math.max(backoff, asked ?? 0), why: 'lost' } : { act: 'fail' };
}
