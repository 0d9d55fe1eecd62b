/**
 * The session of this tab: its token lives in sessionStorage and in memory, never in a URL, a log or a cookie.
 *
 * A session begins with a one-time code (`#code=` in the link that the service prints), a pasted token, or a token of the
 * identity provider; the service exchanges each for a token of at most 12 hours that signing out revokes.
 */
import { api, call, useCredentials } from './api';
import { ApiError, asApiError } from './api/problem';
import type { Me } from './api/types';
import { live } from './events';
import { forgetPosters } from './posters';

const KEY = 'streaming-console.session';
/** How long before its end the session announces it, in milliseconds. */
const NOTICE = 10 * 60_000;
/** The longest delay of setTimeout, in milliseconds. */
const TIMER_MAX = 2 ** 31 - 1;

interface Token {
  token: string;
  expiresAt: string;
}

export type Right = 'upload' | 'edit' | 'transcode' | 'delete' | 'tokens' | 'system' | 'drain';

const EDITOR: Right[] = ['upload', 'edit', 'transcode', 'delete'];
/** The rights of each role (docs/access.md); reading is allowed to all. */
const RIGHTS: Record<string, ReadonlySet<Right>> = {
  viewer: new Set(),
  editor: new Set(EDITOR),
  admin: new Set<Right>([...EDITOR, 'tokens', 'system', 'drain'])
};

/** The link's one-time code, taken out of the address bar before anything else runs. */
export function takeCode(): string | null {
  const match = /^#code=([^&]+)$/.exec(location.hash);
  if (!match?.[1]) return null;
  history.replaceState(history.state, '', location.pathname + location.search);
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
}

class Session {
  phase: 'starting' | 'out' | 'in' = $state('starting');
  me: Me | null = $state.raw(null);
  expiresAt: number | null = $state(null);
  /** True during the last minutes of the session. */
  ending = $state(false);
  /** Why the last session ended. */
  reason: 'expired' | 'signed-out' | null = $state(null);
  /** Why the last attempt to sign in failed, and how it was made. */
  error: ApiError | null = $state.raw(null);
  method: 'code' | 'token' | 'provider' = $state('token');

  #token: string | null = null;
  #timers: ReturnType<typeof setTimeout>[] = [];

  get token(): string | null {
    return this.#token;
  }

  /** Whether the role allows an action; screens leave out what it does not. */
  can(right: Right): boolean {
    return RIGHTS[this.me?.role ?? '']?.has(right) ?? false;
  }

  /** Begins a session with the link's code; without one, or if it is not accepted, continues the session of this tab. */
  async start(code: string | null): Promise<void> {
    if (code) await this.signInByCode(code);
    const stored = this.#stored();
    if (this.phase === 'in') return;
    if (!stored) {
      this.phase = 'out';
      return;
    }
    await this.#begin(stored).catch((error) => this.#failed(error));
  }

  /** Whether a session is stored that could not be continued yet, because the service did not answer or limits requests. */
  get resumable(): boolean {
    return this.phase === 'out' && this.#stored() !== null;
  }

  /** Goes on with the stored session. */
  async resume(): Promise<void> {
    this.error = null;
    await this.start(null);
  }

  async signInByCode(code: string): Promise<void> {
    this.method = 'code';
    await this.#attempt(() => call(api.POST('/api/auth/sign-in', { body: { code } })));
  }

  /** Exchanges a pasted token, or the first acceptable one of the identity provider, for a session. */
  async signInByToken(tokens: string[], method: 'token' | 'provider' = 'token'): Promise<void> {
    this.method = method;
    await this.#attempt(async () => {
      let refusal: unknown = new ApiError(401, 'unauthenticated', '');
      for (const token of tokens) {
        const headers = { authorization: `Bearer ${token.trim()}` };
        try {
          return await call(api.POST('/api/auth/session', { headers }));
        } catch (error) {
          refusal = error;
          if (asApiError(error).status !== 401) break;
        }
      }
      throw refusal;
    });
  }

  /** Records that the identity provider did not sign the person in. */
  failProvider(error: ApiError): void {
    this.method = 'provider';
    this.#failed(error);
  }

  async signOut(): Promise<void> {
    const leaving = this.#token;
    if (!leaving) return;
    this.#end('signed-out');
    await this.#revoke(leaving);
  }

  /** Without a reply the token still expires by itself. */
  async #revoke(token: string): Promise<void> {
    const headers = { authorization: `Bearer ${token}` };
    await call(api.POST('/api/auth/sign-out', { headers })).catch(() => {});
  }

  /** Ends the session because its token has become invalid, by the service's reply or by the clock. */
  expire(): void {
    if (this.phase === 'in' || this.#token) this.#end('expired');
  }

  /** A new session takes the place of the tab's present one; an attempt that fails leaves that as it is. */
  async #attempt(exchange: () => Promise<Token>): Promise<void> {
    this.error = null;
    this.reason = null;
    let token: Token;
    try {
      token = await exchange();
    } catch (error) {
      this.error = asApiError(error);
      if (this.phase !== 'in') this.phase = 'out';
      return;
    }
    const present = this.#stored();
    if (present) {
      this.#leave();
      this.phase = 'starting';
      void this.#revoke(present.token);
    }
    await this.#begin(token).catch((error) => this.#failed(error));
  }

  async #begin(token: Token): Promise<void> {
    this.#token = token.token;
    sessionStorage.setItem(KEY, JSON.stringify(token));
    const me = await call(api.GET('/api/me'));
    if (!RIGHTS[me.role]) {
      void this.#revoke(token.token);
      throw new ApiError(403, 'permission_denied', '');
    }
    this.me = me;
    const expires = Date.parse(me.expiresAt ?? token.expiresAt);
    this.expiresAt = Number.isNaN(expires) ? null : expires;
    this.#schedule();
    this.phase = 'in';
    live.start();
  }

  #failed(error: unknown): void {
    const problem = asApiError(error);
    if (this.reason === 'expired') return;
    // Any other problem passes, and the token may still be valid: it is kept for the next attempt.
    if (problem.status === 401 || problem.status === 403) this.#forget();
    this.error = problem;
    this.phase = 'out';
  }

  #end(reason: 'expired' | 'signed-out'): void {
    this.#leave();
    this.reason = reason;
    this.phase = 'out';
  }

  #leave(): void {
    this.#forget();
    live.stop();
    forgetPosters();
    this.me = null;
  }

  #forget(): void {
    this.#token = null;
    this.#timers.forEach(clearTimeout);
    this.#timers = [];
    this.ending = false;
    sessionStorage.removeItem(KEY);
  }

  #schedule(): void {
    this.#timers.forEach(clearTimeout);
    const left = (this.expiresAt ?? Infinity) - Date.now();
    if (!Number.isFinite(left)) return;
    const after = (delay: number, act: () => void) => setTimeout(act, Math.min(Math.max(delay, 0), TIMER_MAX));
    this.#timers = [after(left - NOTICE, () => (this.ending = true)), after(left, () => this.expire())];
  }

  #stored(): Token | null {
    try {
      return JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Token | null;
    } catch {
      return null;
    }
  }
}

export const session = new Session();

useCredentials({
  token: () => session.token,
  rejected: (token) => {
    if (token === session.token) session.expire();
  }
});
