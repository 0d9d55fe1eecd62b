/** The elements of a player. */

import 'media-chrome/dist/media-controller.js';
import 'media-chrome/dist/media-play-button.js';
import 'media-chrome/dist/media-mute-button.js';
import 'media-chrome/dist/media-volume-range.js';
import 'media-chrome/dist/media-captions-button.js';
import 'media-chrome/dist/media-pip-button.js';
import 'media-chrome/dist/media-airplay-button.js';
import 'media-chrome/dist/media-cast-button.js';
import 'media-chrome/dist/media-fullscreen-button.js';
import 'media-chrome/dist/media-loading-indicator.js';
import 'media-chrome/dist/lang/de.js';
import type MediaController from 'media-chrome/dist/media-controller.js';
import './time-display';
import css from './player.css?inline';
import type { Messages } from './messages';
import type { SeekBar } from './seek-bar';

const GEAR =
  '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M19.4 13a7.7 7.7 0 0 0 0-2l2-1.6-2-3.4-2.4 1a7.6 7.6 0 0 0-1.7-1L15 3.5h-4L10.6 6a7.6 7.6 0 0 0-1.7 1l-2.4-1-2 3.4L6.6 11a7.7 7.7 0 0 0 0 2l-2.1 1.6 2 3.4 2.4-1a7.6 7.6 0 0 0 1.7 1l.4 2.5h4l.4-2.5a7.6 7.6 0 0 0 1.7-1l2.4 1 2-3.4ZM13 15.5a3.5 3.5 0 1 1 0-7 3.5 3.5 0 0 1 0 7Z"/></svg>';
const CROSS = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4Z"/></svg>';
const NOTE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 3v11.2A3.5 3.5 0 1 0 11 17.4V8h8V3Z"/></svg>';

const MARKUP = `
<media-controller tabindex="0" nohotkeys>
  <video slot="media" playsinline crossorigin="anonymous" preload="auto"></video>
  <media-loading-indicator slot="centered-chrome" noautohide></media-loading-indicator>
  <media-play-button slot="centered-chrome" class="big"></media-play-button>
  <div class="bar">
    <stream-seek-bar>
      <media-preview-thumbnail slot="preview"></media-preview-thumbnail>
      <media-preview-time-display slot="preview"></media-preview-time-display>
    </stream-seek-bar>
    <div class="row">
      <media-play-button></media-play-button>
      <media-mute-button></media-mute-button>
      <media-volume-range></media-volume-range>
      <stream-time-display showduration></stream-time-display>
      <span class="space"></span>
      <media-captions-button></media-captions-button>
      <button type="button" class="icon" data-part="settings" aria-haspopup="dialog" aria-expanded="false">${GEAR}</button>
      <media-airplay-button></media-airplay-button>
      <media-cast-button></media-cast-button>
      <media-pip-button></media-pip-button>
      <media-fullscreen-button></media-fullscreen-button>
    </div>
  </div>
</media-controller>
<div class="sound whole" data-part="sound" hidden>${NOTE}<p></p></div>
<div class="layer">
  <div class="note" data-part="status" role="status"></div>
  <button type="button" class="button" data-part="cancel" hidden></button>
  <div class="note" data-part="offer" role="group" hidden>
    <button type="button" class="button" data-part="continue"></button>
    <button type="button" class="icon" data-part="dismiss">${CROSS}</button>
  </div>
  <span class="chip" data-part="chip" hidden></span>
</div>
<div class="whole preparing" data-part="preparing" role="status" hidden><p></p></div>
<div class="whole" data-part="problem" role="alert" hidden>
  <p></p><button type="button" class="button" data-part="retry"></button>
</div>
<div class="panel" data-part="panel" data-own-keys role="dialog" hidden></div>
`;

const PARTS = [
  'settings', 'sound', 'status', 'cancel', 'offer', 'continue', 'dismiss', 'chip', 'preparing', 'problem', 'retry', 'panel'
] as const;

/** The elements that the player changes. */
export type Parts = Record<(typeof PARTS)[number], HTMLElement> & {
  controller: MediaController;
  video: HTMLVideoElement;
  seekBar: SeekBar;
};

/** Fills the shadow root. */
export function build(root: ShadowRoot, messages: Messages): Parts {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  root.innerHTML = MARKUP;
  const parts = Object.fromEntries(PARTS.map((name) => [name, root.querySelector<HTMLElement>(`[data-part=${name}]`)!]));
  const [controller, video] = [root.querySelector('media-controller')!, root.querySelector('video')!];
  const named = { ...parts, controller, video, seekBar: root.querySelector<SeekBar>('stream-seek-bar')! } as unknown as Parts;
  controller.setAttribute('aria-label', messages.player);
  named.settings.setAttribute('aria-label', messages.settings);
  named.dismiss.setAttribute('aria-label', messages.dismiss);
  named.panel.setAttribute('aria-label', messages.settings);
  named.cancel.textContent = messages.cancel;
  named.retry.textContent = messages.retry;
  return named;
}
