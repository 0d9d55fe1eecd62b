/** The script of `/watch/{id}` and `/embed/{id}`. */

import './page.css';
import { StreamPlayer } from './player';
import { PlayerJs } from './player-js';

const player = document.querySelector('stream-player');
const embedded = /\/embed\/[^/]+\/?$/.test(location.pathname);
document.documentElement.classList.toggle('embedded', embedded);

/**
 * Takes title and poster over from the page as the server renders it now: a page that was opened before anything was
 * playable names neither.
 */
async function fill(element: StreamPlayer): Promise<void> {
  const reply = await fetch(element.fresh(location.href), { headers: { Accept: 'text/html' } }).catch(() => null);
  if (!reply?.ok) return;
  const now = new DOMParser().parseFromString(await reply.text(), 'text/html');
  document.title = now.title;
  const [before, heading] = [document.querySelector('h1'), now.querySelector('h1')];
  if (before && heading) before.textContent = heading.textContent;
  const rendered = now.querySelector('stream-player');
  for (const name of ['title', 'poster', 'storyboard']) {
    const value = rendered?.getAttribute(name);
    if (value != null) element.setAttribute(name, value);
  }
}

/** Poster and storyboard are made when everything is encoded, if at all: these are the pauses between looks for them. */
const IMAGES_MS = [0, 5000, 15_000, 40_000];

async function fillLater(element: StreamPlayer): Promise<void> {
  for (const pause of IMAGES_MS) {
    await new Promise((done) => setTimeout(done, pause));
    if (element.hasAttribute('storyboard')) return;
    await fill(element);
  }
}

if (player instanceof StreamPlayer) {
  if (!player.hasAttribute('src')) player.addEventListener('playable', () => void fill(player), { once: true });
  // Sent only if something was missing when the page was opened.
  player.addEventListener('complete', () => void fillLater(player), { once: true });
  if (embedded) new PlayerJs(player);
}
