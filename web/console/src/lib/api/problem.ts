/** Errors of requests: RFC 9457 problems of the service, and failures to reach it. */
import type { Problem } from './types';

/** Codes that exist only in the console. */
type OwnCode = 'offline' | 'unreadable' | 'unreadable_file';

/** A request that failed. `status` is 0 when no reply arrived. */
export class ApiError extends Error {
  override name = 'ApiError';

  constructor(
    readonly status: number,
    readonly code: Problem['code'] | OwnCode,
    /** The service's own sentence, in English. */
    readonly detail: string,
    readonly fields: Problem['errors'] = [],
    /** When the request may be sent again, in milliseconds since 1970; only after a rate limit. */
    readonly retryAt: number | null = null,
    /** For the operator, who finds it in the log. */
    readonly requestId: string | null = null
  ) {
    super(detail);
  }
}

/** Seconds of a `Retry-After` header; null when it is absent or a date. */
export function retryAfter(value: string | null | undefined): number | null {
  if (!value || !/^\d+$/.test(value.trim())) return null;
  return Number(value.trim());
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string';
}

/** The error of a reply whose status is not a success; `body` is its parsed JSON, if any. */
export function errorOf(response: Response, body: unknown, now = Date.now()): ApiError {
  const wait = retryAfter(response.headers.get('retry-after'));
  const retryAt = wait === null ? null : now + wait * 1000;
  const id = response.headers.get('x-request-id');
  if (!isProblem(body)) return new ApiError(response.status, 'unreadable', response.statusText, [], retryAt, id);
  return new ApiError(response.status, body.code, body.detail, body.errors ?? [], retryAt, id);
}

/** Turns anything thrown into an `ApiError`; `fetch` throws a TypeError when no reply arrived. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof TypeError) return new ApiError(0, 'offline', error.message);
  return new ApiError(0, 'unreadable', error instanceof Error ? error.message : String(error));
}
