/**
 * The tasks of a job as a grid: one cell per video rendition and chunk.
 *
 * Audio, text tracks, images and finalization have no cell; they are listed beside the grid. Two
 * tasks may cover one cell, because the lower rungs of a chunk may be encoded ahead a second time:
 * the better state wins, and admission keeps the first output.
 *
 * Plain data without reactivity: a week of video has 30,000 chunks, and a component asks only for
 * the cells that it shows.
 */
import type { Task } from '../api/types';

export type { Task };

/** The states that the console displays; see {@link displayState}. */
export type DisplayState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

/** One cell; `task` is the one whose state is shown, `null` where no task covers the cell. */
export interface Cell {
  rung: string;
  chunk: number;
  state: DisplayState;
  task: Task | null;
}

/** How many cells are in each state. */
export type Counts = Record<DisplayState, number>;

/** A part of the video, for the overview. */
export interface Part {
  done: number;
  running: number;
  failed: boolean;
}

/** Every state, the better ones first. */
export const STATES: readonly DisplayState[] = [
  'done',
  'running',
  'queued',
  'failed',
  'cancelled'
];

const NONE: Readonly<Counts> = { queued: 0, running: 0, done: 0, failed: 0, cancelled: 0 };

/** The word for a task's state: a leased task is running, blocked and ready ones are queued. */
export function displayState(state: string): DisplayState {
  switch (state) {
    case 'leased':
      return 'running';
    case 'done':
    case 'failed':
    case 'cancelled':
      return state;
    default:
      return 'queued';
  }
}

/** Whether the task is being repeated: it runs, or waits to run, after a failed attempt. */
export function isRetrying(task: Task): boolean {
  const state = displayState(task.state);
  return (state === 'running' && task.attempt > 1) || (state === 'queued' && task.attempt > 0);
}

/** The grid of one job. */
export class Grid {
  readonly #tasks = new Map<string, Task>();
  /** Per rung and chunk the ids of the tasks that cover the cell. */
  readonly #cells = new Map<string, string[][]>();
  /** Per rung how many of the covered cells are in each state. */
  readonly #counts = new Map<string, Counts>();
  /** The tasks without a cell, those that run, and those with trouble: kept, so that reading them is cheap. */
  readonly #others = new Map<string, Task>();
  readonly #running = new Set<string>();
  readonly #troubled = new Map<string, Task>();
  #order: string[];
  #chunks = 0;

  /** `profiles` are the job's rungs, the lowest first; rungs of tasks that it lacks are added. */
  constructor(profiles: readonly string[] = [], tasks: readonly Task[] = []) {
    this.#order = [...profiles];
    for (const task of tasks) this.apply(task);
  }

  /** The rungs, the highest first. */
  get rungs(): string[] {
    return [...this.#order].reverse();
  }

  /** How many chunks the video has. */
  get chunks(): number {
    return this.#chunks;
  }

  /** The tasks without a cell, in the order of their first appearance. */
  get others(): Task[] {
    return [...this.#others.values()];
  }

  /** How many tasks the grid has. */
  get size(): number {
    return this.#tasks.size;
  }

  /** How many tasks run, with or without a cell. */
  get running(): number {
    return this.#running.size;
  }

  /** Adds a task, or replaces the one with its id. */
  apply(task: Task): void {
    this.#note(task);
    if (task.kind !== 'chunk') {
      this.#tasks.set(task.taskId, task);
      this.#others.set(task.taskId, task);
      return;
    }
    const known = this.#tasks.get(task.taskId);
    const rungs = known?.rungs ?? task.rungs;
    const before = rungs.map((rung) => this.#covered(rung, task.ordinal));
    this.#tasks.set(task.taskId, task);
    if (!known) this.#cover(task);
    rungs.forEach((rung, n) => {
      const counts = this.#counts.get(rung);
      if (!counts) return;
      if (before[n]) counts[before[n]]--;
      counts[this.cell(rung, task.ordinal).state]++;
    });
  }

  #note(task: Task): void {
    if (task.state === 'leased') this.#running.add(task.taskId);
    else this.#running.delete(task.taskId);
    const troubled = task.state === 'failed' || task.attempt > 1 || task.error !== null;
    if (troubled) this.#troubled.set(task.taskId, task);
    else this.#troubled.delete(task.taskId);
  }

  #cover(task: Task): void {
    this.#chunks = Math.max(this.#chunks, task.ordinal + 1);
    for (const rung of task.rungs) {
      if (!this.#order.includes(rung)) this.#order.push(rung);
      let row = this.#cells.get(rung);
      if (!row) {
        this.#cells.set(rung, (row = []));
        this.#counts.set(rung, { queued: 0, running: 0, done: 0, failed: 0, cancelled: 0 });
      }
      (row[task.ordinal] ??= []).push(task.taskId);
    }
  }

  /** The state of a cell that a task covers. */
  #covered(rung: string, chunk: number): DisplayState | null {
    return this.#cells.get(rung)?.[chunk] ? this.cell(rung, chunk).state : null;
  }

  /** The cell of a rung and chunk. */
  cell(rung: string, chunk: number): Cell {
    let best: Task | null = null;
    for (const id of this.#cells.get(rung)?.[chunk] ?? []) {
      const task = this.#tasks.get(id);
      if (task && (!best || rank(task) < rank(best))) best = task;
    }
    return { rung, chunk, state: best ? displayState(best.state) : 'queued', task: best };
  }

  /** How many cells of a rung are in each state. */
  counts(rung: string): Counts {
    const counts = this.#counts.get(rung) ?? NONE;
    const covered = STATES.reduce((sum, state) => sum + counts[state], 0);
    return { ...counts, queued: counts.queued + this.#chunks - covered };
  }

  /** How many cells of all rungs are in each state. */
  total(): Counts {
    const total = { ...NONE };
    for (const rung of this.#order) {
      const counts = this.counts(rung);
      for (const state of STATES) total[state] += counts[state];
    }
    return total;
  }

  /**
   * The whole video in at most `count` parts: per part the share of its cells that is done and that
   * is running, and whether any has failed.
   */
  parts(count: number): Part[] {
    const size = Math.max(Math.ceil(this.#chunks / count), 1);
    const parts: Part[] = [];
    for (let start = 0; start < this.#chunks; start += size) {
      const end = Math.min(start + size, this.#chunks);
      const counts = { ...NONE };
      for (const rung of this.#order) {
        for (let chunk = start; chunk < end; chunk++) counts[this.cell(rung, chunk).state]++;
      }
      const cells = Math.max((end - start) * this.#order.length, 1);
      parts.push({ done: counts.done / cells, running: counts.running / cells, failed: counts.failed > 0 });
    }
    return parts;
  }

  /** The tasks that failed, or wait or run after a failed attempt, the worst first. */
  troubled(): Task[] {
    const worst = (task: Task) => (task.state === 'failed' ? 0 : task.state === 'done' ? 2 : 1);
    return [...this.#troubled.values()].sort((a, b) => worst(a) - worst(b) || b.attempt - a.attempt);
  }
}

function rank(task: Task): number {
  return STATES.indexOf(displayState(task.state));
}

/**
 * The seconds that a chunk covers, `[start, end]`. A GOP lasts `round(2 * fps)` frames; chunk 0 has
 * two GOPs, every other one ten (docs/glossary.md); the last one ends with the video.
 */
export function chunkSeconds(chunk: number, fps: number, duration: number): [number, number] {
  const gop = fps > 0 ? Math.round(2 * fps) / fps : 2;
  const start = chunk === 0 ? 0 : gop * (2 + 10 * (chunk - 1));
  const end = gop * (2 + 10 * chunk);
  return [start, duration > 0 ? Math.min(end, Math.max(duration, start)) : end];
}
