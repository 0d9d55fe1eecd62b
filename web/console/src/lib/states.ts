/** The words and tones of states. */

export type Tone = 'idle' | 'busy' | 'ok' | 'warn' | 'bad';

/** The state as people read it: a leased task is running, blocked and ready ones are queued, a second attempt is a retry. */
export function displayState(state: string, attempt = 1): string {
  if (state === 'leased' || state === 'running') return attempt > 1 ? 'retrying' : 'running';
  if (state === 'blocked') return 'queued';
  return state;
}

/** The same for a task, whose `ready` means that it waits for a worker. */
export function displayTaskState(state: string, attempt = 1): string {
  return state === 'ready' ? 'queued' : displayState(state, attempt);
}

const TONES: Record<string, Tone> = {
  uploading: 'busy',
  probing: 'busy',
  processing: 'busy',
  running: 'busy',
  retrying: 'warn',
  ready: 'ok',
  completed: 'ok',
  done: 'ok',
  connected: 'ok',
  ok: 'ok',
  draining: 'warn',
  failed: 'bad',
  lost: 'bad',
  unavailable: 'bad',
  down: 'bad'
};

export function toneOf(state: string): Tone {
  return TONES[state] ?? 'idle';
}
