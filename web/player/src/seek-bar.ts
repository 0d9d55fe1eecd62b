/** The seek bar: as long as the whole video, with the part shaded that is not encoded yet. */

import MediaTimeRange from 'media-chrome/dist/media-time-range.js';
import { formatAsTimePhrase } from 'media-chrome/dist/utils/time.js';
import { catalogues, fill } from './messages';
import { clock } from './time';

const MARKUP = `<style>
  #unencoded {
    position: absolute; inset-block: 0; inset-inline-end: 0; box-sizing: border-box;
    border-inline-start: 2px solid rgb(255 255 255 / .9);
    background: repeating-linear-gradient(135deg, rgb(0 0 0 / .65) 0 3px, rgb(255 255 255 / .3) 3px 5px);
  }
  #target { position: absolute; inset-block: -4px; width: 4px; margin-inline-start: -2px; border-radius: 2px; background: #ffd75e; }
  [hidden] { display: none }
</style>
<div id="unencoded" part="unencoded" hidden></div>
<div id="target" part="target" hidden></div>`;

const percent = (share: number) => `${(Math.min(1, Math.max(0, share)) * 100).toFixed(3)}%`;

/** `<stream-seek-bar>`: media-chrome's time range, which also shows how far the video is encoded. */
export class SeekBar extends MediaTimeRange {
  private edge: number | null = null;
  private language = 'en';

  constructor() {
    super();
    this.shadowRoot?.querySelector('#appearance')?.insertAdjacentHTML('beforeend', MARKUP);
  }

  /** Shows how far the video is encoded, in seconds; null: completely. `target` is the remembered position. */
  show(edge: number | null, target: number | null, duration: number, language: string): void {
    this.edge = edge;
    this.language = language;
    const part = (id: string) => this.shadowRoot!.querySelector<HTMLElement>(`#${id}`)!;
    part('unencoded').hidden = edge === null || !(duration > 0);
    part('unencoded').style.insetInlineStart = percent((edge ?? 0) / duration);
    part('unencoded').dataset.from = edge === null ? '' : edge.toFixed(3);
    part('target').hidden = target === null;
    part('target').style.insetInlineStart = percent((target ?? 0) / duration);
    this.describe();
  }

  override attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    super.attributeChangedCallback(name, before as string, now as string);
    if (before !== now) this.describe();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.describe();
  }

  private describe(): void {
    const duration = this.mediaDuration ?? Number.NaN;
    if (!this.range || !this.language || !Number.isFinite(duration)) return;
    const messages = catalogues[this.language]!;
    const message = this.edge === null ? messages.progress : messages.progressEncoded;
    this.range.setAttribute('aria-label', messages.seek);
    this.range.setAttribute('aria-valuetext', fill(message, {
      position: formatAsTimePhrase(Math.floor(this.mediaCurrentTime ?? 0)),
      duration: formatAsTimePhrase(Math.round(duration)),
      edge: clock(this.edge ?? 0)
    }));
  }
}

if (!customElements.get('stream-seek-bar')) customElements.define('stream-seek-bar', SeekBar);
