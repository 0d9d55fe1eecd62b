/** The player's notices over the picture: the state of the encoder, a remembered position, problems, an offer. */

import { atEdge, complete, secondsUntil, type Growth } from './growth';
import { fill, type Messages } from './messages';
import type { Problem } from './retry';
import type { Parts } from './template';
import { about, clock } from './time';

/** The state that the notices depend on. */
export interface Situation {
  messages: Messages;
  /** Null before the first event. */
  growth: Growth | null;
  /** Seconds since `growth` came. */
  since: number;
  /** The end of the playable part in seconds. */
  edge: number;
  duration: number;
  final: boolean;
  /** The remembered position. */
  pending: number | null;
  /** Whether a session of playback exists. */
  playing: boolean;
  /** Whether playback has no data left. */
  stalled: boolean;
  position: number;
  problem: Problem | null;
  /** The title if the video has no pictures, otherwise null. */
  sound: string | null;
}

/** The text of the status line: a remembered position, or that playback waits for the encoder. */
export function statusText(now: Situation): string {
  const { messages, growth, edge, pending } = now;
  const stopped = growth?.state === 'failed';
  if (!now.playing || now.problem) return '';
  if (pending !== null && stopped) return fill(messages.encodingStopped, { edge: clock(edge) });
  if (pending !== null) {
    const wait = growth ? secondsUntil(pending, growth, now.since) : null;
    const time = clock(pending);
    return wait === null ? fill(messages.readyLater, { time }) : fill(messages.readyIn, { time, wait: about(wait, messages) });
  }
  if (now.stalled && edge > 0 && atEdge(now.position, edge, now.final || complete(edge, now.duration))) {
    return stopped ? fill(messages.encodingStopped, { edge: clock(edge) }) : messages.waitingForEncoder;
  }
  return '';
}

/** The encoded share in whole percent, of which 100 is not shown before the end; null if the video is complete. */
export function encodedPercent(now: Situation): number | null {
  const { growth, edge, duration, final } = now;
  if (final || !now.playing || !(duration > 0) || growth?.state === 'failed' || growth?.state === 'ready') return null;
  return Math.min(99, Math.floor((edge / duration) * 100));
}

/** Sets the text only if it changes, so that a live region is not read twice. */
function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows the situation. */
export function show(parts: Parts, now: Situation): void {
  const { messages, problem } = now;
  write(parts.status, statusText(now));
  parts.cancel.hidden = now.pending === null || !now.playing;
  const percent = encodedPercent(now);
  parts.chip.hidden = percent === null;
  write(parts.chip, percent === null ? '' : fill(messages.encoding, { percent }));
  const failed = now.growth?.state === 'failed';
  parts.preparing.hidden = now.playing || problem !== null;
  write(parts.preparing.querySelector('p')!, parts.preparing.hidden ? '' : failed ? messages.preparingFailed : messages.preparing);
  parts.problem.hidden = problem === null;
  write(parts.problem.querySelector('p')!, problem ? messages[problem] : '');
  parts.sound.hidden = now.sound === null;
  write(parts.sound.querySelector('p')!, now.sound ?? '');
}
