import { describe, expect, it } from 'vitest';
import { chunkSeconds, displayState, Grid, isRetrying, type Task } from './model';

let next = 0;
function task({ state = 'ready', ...change }: Partial<Omit<Task, 'state'>> & { state?: string }): Task {
  const taskId = `t${next++}`;
  const blank = { kind: 'chunk', ordinal: 0, rungs: [], progress: 0, attempt: 0, worker: null };
  return { taskId, ...blank, speed: 0, error: null, ...change, state: state as Task['state'] };
}

describe('words for states', () => {
  it('calls leased tasks running and waiting ones queued', () => {
    const words = ['blocked', 'ready', 'leased', 'done', 'failed', 'cancelled'].map(displayState);
    expect(words).toEqual(['queued', 'queued', 'running', 'done', 'failed', 'cancelled']);
  });

  it('treats a state of a later release as queued', () => {
    expect(displayState('paused')).toBe('queued');
  });

  it('calls only repeated attempts retrying', () => {
    expect(isRetrying(task({ state: 'leased', attempt: 1 }))).toBe(false);
    expect(isRetrying(task({ state: 'leased', attempt: 2 }))).toBe(true);
    expect(isRetrying(task({ state: 'ready', attempt: 1 }))).toBe(true);
    expect(isRetrying(task({ state: 'done', attempt: 3 }))).toBe(false);
  });
});

describe('the grid of a job', () => {
  it('has a cell per rung and chunk although one task covers several rungs', () => {
    const all = ['360p', '720p'];
    const grid = new Grid(all, [
      task({ ordinal: 0, rungs: ['360p'], state: 'done' }),
      task({ ordinal: 0, rungs: ['720p'], state: 'leased' }),
      task({ ordinal: 1, rungs: all, state: 'ready' })
    ]);
    expect(grid.rungs).toEqual(['720p', '360p']);
    expect(grid.chunks).toBe(2);
    const states = grid.rungs.map((rung) => [0, 1].map((chunk) => grid.cell(rung, chunk).state));
    expect(states).toEqual([
      ['running', 'queued'],
      ['done', 'queued']
    ]);
  });

  it('keeps audio and other tasks outside the cells', () => {
    const grid = new Grid(['360p'], [
      task({ rungs: ['360p'] }),
      task({ kind: 'audio' }),
      task({ kind: 'collect', ordinal: 7 })
    ]);
    expect(grid.chunks).toBe(1);
    expect(grid.others.map((other) => other.kind)).toEqual(['audio', 'collect']);
  });

  it.each([
    ['leased', 'ready', 'running'],
    ['ready', 'leased', 'running'],
    ['done', 'cancelled', 'done'],
    ['leased', 'done', 'done'],
    ['failed', 'ready', 'queued'],
    ['cancelled', 'failed', 'failed']
  ])('shows the better state of two tasks in one cell: %s and %s', (first, second, shown) => {
    const both = [first, second].map((state) => task({ ordinal: 3, rungs: ['360p'], state }));
    expect(new Grid(['360p'], both).cell('360p', 3).state).toBe(shown);
  });

  it('follows a task by its id and counts it once', () => {
    const begun = task({ ordinal: 0, rungs: ['360p'], state: 'leased', attempt: 1 });
    const grid = new Grid(['360p'], [begun]);
    grid.apply({ ...begun, state: 'done' });
    grid.apply({ ...begun, state: 'done' });
    expect(grid.counts('360p')).toEqual({ queued: 0, running: 0, done: 1, failed: 0, cancelled: 0 });
    expect([grid.size, grid.running]).toEqual([1, 0]);
  });

  it('adds chunks and rungs that only a later task names', () => {
    const grid = new Grid(['360p'], []);
    grid.apply(task({ ordinal: 4, rungs: ['360p', '1080p'] }));
    expect([grid.chunks, grid.rungs]).toEqual([5, ['1080p', '360p']]);
    expect(grid.cell('1080p', 2)).toMatchObject({ state: 'queued', task: null });
  });

  it('counts each cell once, by the better of its tasks', () => {
    const ahead = task({ ordinal: 1, rungs: ['360p'], state: 'ready' });
    const grid = new Grid(['360p', '720p'], [
      task({ ordinal: 0, rungs: ['360p'], state: 'done' }),
      task({ ordinal: 1, rungs: ['360p', '720p'], state: 'leased' }),
      ahead
    ]);
    grid.apply({ ...ahead, state: 'done' });
    expect(grid.counts('360p')).toMatchObject({ done: 2, running: 0, queued: 0 });
    expect(grid.counts('720p')).toMatchObject({ running: 1, queued: 1 });
    expect(grid.total()).toEqual({ done: 2, running: 1, queued: 1, failed: 0, cancelled: 0 });
  });

  it('sums up a long video in a few parts', () => {
    const state = (n: number) => (n < 5 ? 'done' : n === 7 ? 'failed' : 'leased');
    const tasks = Array.from({ length: 9 }, (_, n) => task({ ordinal: n, rungs: ['a'], state: state(n) }));
    expect(new Grid(['a'], tasks).parts(3)).toEqual([
      { done: 1, running: 0, failed: false },
      { done: 2 / 3, running: 1 / 3, failed: false },
      { done: 0, running: 2 / 3, failed: true }
    ]);
    expect(new Grid(['a'], tasks).parts(50)).toHaveLength(9);
    expect(new Grid(['a'], []).parts(50)).toEqual([]);
  });

  it('lists failed tasks before repeated ones', () => {
    const grid = new Grid(['360p'], [
      task({ ordinal: 0, rungs: ['360p'], state: 'done', attempt: 1 }),
      task({ ordinal: 1, rungs: ['360p'], state: 'done', attempt: 2 }),
      task({ ordinal: 2, rungs: ['360p'], state: 'leased', attempt: 3 }),
      task({ ordinal: 3, rungs: ['360p'], state: 'failed', attempt: 4 })
    ]);
    expect(grid.troubled().map((found) => found.ordinal)).toEqual([3, 2, 1]);
  });

  it('answers for a week of video in five rungs without delay', () => {
    const rungs = ['360p', '480p', '720p', '1080p', '4k'];
    const tasks = Array.from({ length: 30_240 }, (_, ordinal) => task({ ordinal, rungs }));
    const grid = new Grid(rungs, tasks);
    expect(grid.chunks).toBe(30_240);
    expect(grid.counts('4k').queued).toBe(30_240);
  });
});

describe('the seconds of a chunk', () => {
  it('gives the first chunk two GOPs and every other one ten', () => {
    expect(chunkSeconds(0, 25, 60)).toEqual([0, 4]);
    expect(chunkSeconds(1, 25, 60)).toEqual([4, 24]);
    expect(chunkSeconds(3, 25, 60)).toEqual([44, 60]);
  });

  it('lengthens GOPs at fractional rates', () => {
    const [start, end] = chunkSeconds(1, 30_000 / 1001, 0);
    expect(start).toBeCloseTo(4.004, 3);
    expect(end).toBeCloseTo(24.024, 3);
  });
});
