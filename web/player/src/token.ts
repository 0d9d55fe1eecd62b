/**
 * Keeps the playback token of a session fresh. The URLs of a video are the same for every token, except for `?token=`, so
 * each request takes the newest token. A token that cannot be renewed plays until it expires.
 */

import { backoff } from './retry';

/** A renewed token is renewed again after this share of its life; the service renews in the last third. */
const SHARE = 0.8;

/** The token of one session. */
export class PlaybackToken {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private closed = false;

  private constructor(
    private token: string,
    private readonly route: string
  ) {
    void this.renew();
  }

  /** The token in the address of a manifest or of events; null without one. */
  static of(url: string | null): PlaybackToken | null {
    const address = url === null ? null : new URL(url, document.baseURI);
    const token = address?.searchParams.get('token');
    const route = address?.pathname.replace(/\/api\/stream\/.*$/, '/api/playback-token/renew');
    return token && route !== address?.pathname ? new PlaybackToken(token, `${address!.origin}${route}`) : null;
  }

  /** The address with the newest token. */
  fresh(url: string): string {
    return url.replace(/([?&]token=)[^&#]*/, (_, name: string) => name + encodeURIComponent(this.token));
  }

  private after(milliseconds: number): void {
    if (this.closed) return;
    this.timer = setTimeout(() => void this.renew(), milliseconds);
  }

  /** Renews the token. The reply to a request that comes too early states when to ask again. */
  private async renew(): Promise<void> {
    const reply = await fetch(this.route, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ token: this.token })
    }).catch(() => null);
    const early = 1000 * (Number(reply?.headers.get('Retry-After')) || 0);
    const renewed: { token: string; expiresAt: string } | null = reply?.ok ? await reply.json().catch(() => null) : null;
    if (renewed) {
      this.token = renewed.token;
      this.failures = 0;
      this.after(SHARE * (Date.parse(renewed.expiresAt) - Date.now()));
    } else if (reply?.status === 409 && early > 0) {
      this.after(early);
    } else if (!reply || reply.ok || reply.status === 429 || reply.status >= 500) {
      this.after(Math.max(backoff(this.failures++), early));
    }
  }

  /** Ends renewing. */
  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }
}

/** The token in the addresses of a player, which may change; most videos need none. */
export class PlaybackTokens {
  private token: PlaybackToken | null = null;
  private source: string | null = null;

  /** Renews the token in `url` from now on, and no other; null ends renewing. */
  adopt(url: string | null): void {
    if (url === this.source) return;
    this.token?.close();
    this.source = url;
    this.token = PlaybackToken.of(url);
  }

  /** An address with the newest token. */
  fresh(url: string): string {
    return this.token?.fresh(url) ?? url;
  }
}
