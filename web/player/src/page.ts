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
  const reply = await fetch(location.href, { headers: { Accept: 'text/html' } }).catch(() => null);
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

if (player instanceof StreamPlayer) {
  if (!player.hasAttribute('src')) player.addEventListener('playable', () => void fill(player), { once: true });
  // A storyboard is made when everything is encoded.
  player.addEventListener('complete', () => {
    if (!player.hasAttribute('storyboard')) void fill(player);
  });
  if (embedded) new PlayerJs(player);
}
