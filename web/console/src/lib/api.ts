/** The client of the REST API: types from the OpenAPI document, the session's token, errors as `ApiError`, waits after a 429. */
import createClient from 'openapi-fetch';
import { ApiError, asApiError, errorOf, retryAfter } from './api/problem';
import { classOf, limits } from './api/limits.svelte';
import type { paths } from './api/schema.gen';
import { root } from './paths';

/** A request waits out a 429 up to this long by itself, in milliseconds; longer pauses are shown as an error. */
const PATIENCE = 15_000;
/** Authenticated by the code in its body. */
const SIGN_IN = '/api/auth/sign-in';

interface Credentials {
  token(): string | null;
  /** Called when the service no longer accepts the token that a request carried. */
  rejected(token: string): void;
}

let credentials: Credentials = { token: () => null, rejected: () => {} };

/** Connects the client to the session; the session imports this module, so it registers itself. */
export function useCredentials(source: Credentials): void {
  credentials = source;
}

/** The bearer token of the session, for requests that do not pass through `api`. */
export function bearer(): string | null {
  return credentials.token();
}

/** Ends the session when a request outside of `api` learned that its token has become invalid. */
export function tokenRejected(): void {
  const token = credentials.token();
  if (token) credentials.rejected(token);
}

const sleep = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

/** Sends a request with the session's token; waits while its class of requests is limited. */
export async function send(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  const kind = classOf(request.method, pathname);
  // A refused code must not end the present session.
  const own = request.headers.has('authorization') || pathname.endsWith(SIGN_IN);
  const token = own ? null : credentials.token();
  if (token) request.headers.set('authorization', `Bearer ${token}`);
  const giveUp = Date.now() + PATIENCE;
  for (;;) {
    const delay = limits.delay(kind);
    if (delay > 0 && Date.now() + delay > giveUp) throw limited(Date.now() + delay);
    if (delay > 0) await sleep(delay);
    const response = await fetch(request.clone());
    limits.note(kind, response.headers);
    if (response.status === 401 && token) credentials.rejected(token);
    const wait = retryAfter(response.headers.get('retry-after'));
    if (response.status !== 429 || kind === null || wait === null) return response;
    limits.pause(kind, wait);
    if (Date.now() + wait * 1000 > giveUp) return response;
  }
}

function limited(retryAt: number): ApiError {
  return new ApiError(429, 'rate_limited', 'too many requests', [], retryAt);
}

export const api = createClient<paths>({
  baseUrl: root,
  fetch: send,
  // Lists in a query are separated by commas.
  querySerializer: { array: { style: 'form', explode: false } }
});

interface Reply<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/**
 * The body of a reply: `const video = await call(api.GET('/api/videos/{id}', …))`.
 *
 * Throws an `ApiError` when the service refuses the request or does not answer.
 */
export async function call<T>(reply: Promise<Reply<T>>): Promise<T> {
  let settled: Reply<T>;
  try {
    settled = await reply;
  } catch (error) {
    throw asApiError(error);
  }
  if (!settled.response.ok) throw errorOf(settled.response, settled.error);
  return settled.data as T;
}
