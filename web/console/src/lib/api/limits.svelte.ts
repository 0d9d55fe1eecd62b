/** The service's rate limits as its replies reported them, and when limited requests may go on. */

export type LimitClass = 'general' | 'upload' | 'stream';

export interface Allowance {
  limit: number;
  remaining: number;
  /** Seconds until the whole limit is available again, counted from `at`. */
  resetSeconds: number;
  /** When the reply arrived, in milliseconds since 1970. */
  at: number;
}

/** The class of a request (docs/limits.md); parts of an upload are not limited. */
export function classOf(method: string, path: string): LimitClass | null {
  const api = path.indexOf('/api/');
  if (api < 0) return null;
  const rest = path.slice(api + 4);
  if (rest.startsWith('/stream/') || rest.startsWith('/playback-token/')) return 'stream';
  if (rest.startsWith('/uploads/')) return null;
  const creates = (rest === '/uploads' || rest === '/videos/upload') && method === 'POST';
  if (creates || (method === 'PUT' && rest.endsWith('/source'))) return 'upload';
  return 'general';
}

class Limits {
  known: Partial<Record<LimitClass, Allowance>> = $state({});
  /** Until when requests of a class wait after a 429, in milliseconds since 1970. */
  paused: Partial<Record<LimitClass, number>> = $state({});

  /** Reads the `RateLimit-*` headers of a reply. */
  note(kind: LimitClass | null, headers: { get(name: string): string | null | undefined }): void {
    const read = (name: string) => {
      const value = headers.get(name);
      return value && /^\d+$/.test(value) ? Number(value) : null;
    };
    const [limit, remaining, reset] = [read('ratelimit-limit'), read('ratelimit-remaining'), read('ratelimit-reset')];
    if (kind === null || limit === null || remaining === null || reset === null) return;
    this.known[kind] = { limit, remaining, resetSeconds: reset, at: Date.now() };
  }

  /** Records that requests of this class are refused for `seconds`. */
  pause(kind: LimitClass, seconds: number): void {
    this.paused[kind] = Date.now() + seconds * 1000;
  }

  /** Milliseconds until a request of this class may be sent; 0 when it may be sent now. */
  delay(kind: LimitClass | null): number {
    const until = kind === null ? undefined : this.paused[kind];
    return Math.max(0, (until ?? 0) - Date.now());
  }

  /** The latest time until which any class waits; 0 when none does. */
  get pausedUntil(): number {
    return Math.max(0, ...Object.values(this.paused));
  }
}

export const limits = new Limits();
