/** How much of a video is encoded, and what follows from it for seeking. Pure. All values are seconds. */

/** The state of a video, as `/api/stream/{id}/events` reports it. */
export interface Growth {
  /** `waiting`: nothing is playable. `failed`: the listed part stays playable. */
  state: 'waiting' | 'growing' | 'ready' | 'failed';
  /** The probed duration. */
  duration: number | null;
  /** The end of the listed part of the lowest video rung. */
  edge: number;
  /** Until everything is encoded. */
  etaSeconds: number | null;
}

/** How much must be listed behind a position before playback jumps there: less than one picture at 4 per second. */
const MARGIN_SECONDS = 0.25;
/** Playback that has come this close to the edge and stalls waits for the encoder, not for the network. */
const AT_EDGE_SECONDS = 1.5;
/** The share of a video behind which it counts as watched. */
const WATCHED = 0.95;
/** A position before this is not worth an offer to continue. */
const RESUME_MIN_SECONDS = 10;

const STATES = ['waiting', 'growing', 'ready', 'failed'];

const positive = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null);

/** Reads the data of a `state` event; null if it is not one. */
export function parseGrowth(text: string): Growth | null {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof data !== 'object' || data === null) return null;
  const { state, duration, edge, etaSeconds } = data as Record<string, unknown>;
  if (typeof state !== 'string' || !STATES.includes(state)) return null;
  return {
    state: state as Growth['state'],
    duration: positive(duration),
    edge: positive(edge) ?? 0,
    etaSeconds: positive(etaSeconds)
  };
}

/** How much the probed duration may exceed that of the encoded video. */
const ROUNDING_SECONDS = 0.1;

/** Whether everything is listed, although higher rungs may still be encoded: then the playlists have no end yet. */
export function complete(edge: number, duration: number): boolean {
  return duration > 0 && edge >= duration - ROUNDING_SECONDS;
}

/** Whether playback can jump to `target` now. `edge` is the end of the listed part, `final` that nothing follows. */
export function reachable(target: number, edge: number, final: boolean): boolean {
  return final || target <= edge - MARGIN_SECONDS;
}

/** Whether playback at `position` that has no data left waits for the encoder. */
export function atEdge(position: number, edge: number, final: boolean): boolean {
  return !final && position >= edge - AT_EDGE_SECONDS;
}

/**
 * The seconds until `target` is encoded: its part of the time until everything is. `since` is how long ago `growth`
 * came. Null without an estimate.
 */
export function secondsUntil(target: number, growth: Growth, since: number): number | null {
  const { duration, edge, etaSeconds } = growth;
  if (etaSeconds === null || duration === null || duration <= edge || growth.state === 'failed') return null;
  const share = Math.min(1, Math.max(0, (target - edge) / (duration - edge)));
  return Math.max(0, share * etaSeconds - since);
}

/** Whether `position` should be offered when the video is opened again. */
export function worthResuming(position: number, duration: number): boolean {
  return position >= RESUME_MIN_SECONDS && duration > 0 && position < duration * WATCHED;
}

/** Whether the video counts as watched, so that its stored position is removed. */
export function watched(position: number, duration: number): boolean {
  return duration > 0 && position >= duration * WATCHED;
}
