/** Remembers where a viewer left a video, and offers to continue there. */

import { watched, worthResuming } from './growth';
import { fill } from './messages';
import type { StreamPlayer } from './player';
import { storePosition, storedPosition } from './preferences';
import type { Parts } from './template';
import { clock } from './time';

/** How often the position is stored while the video plays. */
const STORE_INTERVAL_MS = 5000;
/** How long the offer is shown once the video plays. */
const OFFER_MS = 20_000;

/** The remembered position of one player. */
export class Resume {
  private storedAt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly player: StreamPlayer,
    private readonly parts: Parts,
    signal: AbortSignal
  ) {
    const { video } = parts;
    parts.dismiss.addEventListener('click', () => this.hide(), { signal });
    video.addEventListener('pause', () => this.save(), { signal });
    video.addEventListener('ended', () => storePosition(player.contentId, null), { signal });
    video.addEventListener('timeupdate', () => {
      if (!video.paused && performance.now() - this.storedAt > STORE_INTERVAL_MS) this.save();
    }, { signal });
    window.addEventListener('pagehide', () => this.save(), { signal });
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  /** Offers the stored position, if there is one that is worth it. */
  offer(): void {
    const { player, parts } = this;
    const position = storedPosition(player.contentId);
    if (position === null || !worthResuming(position, player.duration || Number.POSITIVE_INFINITY)) return;
    parts.continue.textContent = fill(player.messages.continueAt, { time: clock(position) });
    parts.continue.onclick = () => {
      player.seek(position);
      void player.play().catch(() => undefined);
      parts.controller.focus();
    };
    parts.offer.hidden = false;
    parts.video.addEventListener('playing', () => (this.timer = setTimeout(() => this.hide(), OFFER_MS)), { once: true });
  }

  /** Withdraws the offer. */
  hide(): void {
    clearTimeout(this.timer);
    this.parts.offer.hidden = true;
  }

  /** Stores the position, except while an earlier one is still offered. */
  save(): void {
    const { player, parts } = this;
    const { currentTime } = parts.video;
    if (!player.engine || !parts.offer.hidden || currentTime === 0) return;
    this.storedAt = performance.now();
    if (watched(currentTime, player.duration)) storePosition(player.contentId, null);
    else if (worthResuming(currentTime, player.duration)) storePosition(player.contentId, currentTime);
  }
}
