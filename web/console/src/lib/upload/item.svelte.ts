/** One entry of the upload queue. */
import type { ApiError } from '../api/problem';
import type { Stored } from './store';
import { titleOf } from './fingerprint';

export type Phase =
  | 'reading'
  | 'waiting'
  | 'sending'
  | 'paused'
  /** Waits before the next attempt, until `retryAt`; `why` is the reason. */
  | 'retrying'
  /** Waits for the next sign-in. */
  | 'signed-out'
  /** After a reload: the same file must be chosen again. */
  | 'needs-file'
  | 'sent'
  | 'failed';

export type Visibility = 'public' | 'private';

/** Weight of the newest measurement in the mean speed. */
const SMOOTHING = 0.3;

/** The content of the request that creates an upload. It stays the same until the upload exists. */
export interface Creation {
  key: string;
  title: string;
  visibility: Visibility;
}

export class Item {
  readonly key = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  readonly name: string;
  readonly size: number;
  fingerprint = '';
  url: string | null = null;
  creation: Creation | null = null;
  since = Date.now();
  /** Failures in a row. */
  failures = 0;

  file: File | null = $state.raw(null);
  title: string = $state('');
  visibility: Visibility = $state('public');
  phase: Phase = $state('reading');
  /** Bytes sent, including those on the way. */
  sent = $state(0);
  /** Mean bytes per second. */
  speed = $state(0);
  videoId: string | null = $state(null);
  retryAt: number | null = $state(null);
  why: 'lost' | 'limited' | 'quota' = $state('lost');
  error: ApiError | null = $state.raw(null);
  /** When the last byte was acknowledged, in milliseconds since 1970. */
  sentAt: number | null = $state(null);

  #measured: { at: number; sent: number } | null = null;

  constructor(file: File | null, name: string, size: number, visibility: Visibility) {
    this.file = file;
    this.name = name;
    this.size = size;
    this.title = titleOf(name);
    this.visibility = visibility;
  }

  static restore(entry: Stored): Item {
    const item = new Item(null, entry.name, entry.size, entry.visibility);
    Object.assign(item, {
      fingerprint: entry.fingerprint,
      title: entry.title,
      url: entry.url,
      videoId: entry.videoId,
      sent: entry.sent,
      since: entry.since,
      phase: 'needs-file'
    });
    return item;
  }

  get fraction(): number {
    return this.size > 0 ? this.sent / this.size : 0;
  }

  /** Seconds until the last byte at the present speed; null while unknown. */
  get secondsLeft(): number | null {
    return this.speed > 0 ? (this.size - this.sent) / this.speed : null;
  }

  /** Whether a person can still stop or cancel the transfer. */
  get unfinished(): boolean {
    return this.phase !== 'sent';
  }

  progressed(sent: number, now = Date.now()): void {
    this.sent = sent;
    const last = this.#measured;
    if (!last || sent < last.sent) {
      this.#measured = { at: now, sent };
    } else if (now - last.at >= 500) {
      const speed = ((sent - last.sent) * 1000) / (now - last.at);
      this.speed = this.speed > 0 ? this.speed * (1 - SMOOTHING) + speed * SMOOTHING : speed;
      this.#measured = { at: now, sent };
    }
  }

  /** Forgets the speed, because the transfer stopped. */
  rest(): void {
    this.speed = 0;
    this.#measured = null;
  }

  stored(): Stored | null {
    const { fingerprint, name, size, title, visibility, url, videoId, sent, since } = this;
    return url && videoId ? { fingerprint, name, size, title, visibility, url, videoId, sent, since } : null;
  }
}
