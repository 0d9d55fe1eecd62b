/** The store behind `$lib/events`. */
import { SvelteMap, SvelteSet } from 'svelte/reactivity';
import type { JobSummary, Task, Video, Worker } from '../api/types';
import { send } from '../api';
import { serviceUrl } from '../paths';
import { EventReader, type ServerEvent } from '../sse';

export type LiveState = 'off' | 'connecting' | 'open' | 'waiting';

/** Entries kept per kind; the least recently changed ones go first. */
const KEPT_MAX = 2000;
/** Jobs whose tasks are kept. */
const JOBS_WITH_TASKS_MAX = 50;
/** A tab in the background closes its stream after this time, in milliseconds: browsers open only six connections to a server. */
const HIDDEN_MS = 10_000;
/** A list is requested at the latest after this wait for the stream, in milliseconds. */
const READY_WAIT = 1500;

/** The tasks of one job; `version` changes at most once per frame. */
export class TaskSet {
  readonly byId = new Map<string, Task>();
  version = $state(0);
  #frame = 0;
  #changed = new Set<string>();
  #listeners = new Set<(changed: Task[]) => void>();

  put(task: Task): void {
    if (!task.taskId) return;
    this.byId.set(task.taskId, task);
    this.#changed.add(task.taskId);
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  /** Calls `listener` with the changed tasks, at most once per frame; returns the function that ends it. */
  subscribe(listener: (changed: Task[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #flush(): void {
    const changed = [...this.#changed].flatMap((id) => this.byId.get(id) ?? []);
    this.#frame = 0;
    this.#changed.clear();
    this.version += 1;
    this.#listeners.forEach((listener) => listener(changed));
  }
}

export class Live {
  readonly videos = new SvelteMap<string, Video>();
  readonly jobs = new SvelteMap<string, JobSummary>();
  readonly workers = new SvelteMap<string, Worker>();
  /** Videos that were deleted while this tab was open. */
  readonly deleted = new SvelteSet<string>();
  /** Grows when events may have been missed: screens load their lists again. */
  resets = $state(0);
  state: LiveState = $state('off');

  #tasks = new Map<string, TaskSet>();
  #clock = 0;
  #touched = new Map<string, number>();
  #reader: EventReader | null = null;
  #waiting: (() => void)[] = [];
  #hiding: ReturnType<typeof setTimeout> | undefined;
  /** Whether a list was requested before the stream began, so that changes in between are missing. */
  #unheard = false;

  /** Opens the stream; called by the session. */
  start(): void {
    if (this.#reader) return;
    this.#reader = new EventReader({
      url: serviceUrl('/api/events'),
      send: (url, headers, signal) => send(new Request(url, { headers, signal, cache: 'no-store' })),
      onEvent: (event) => this.receive(event),
      onState: (state, lost) => this.#changeState(state === 'closed' ? 'off' : state, lost)
    });
    if (!document.hidden) this.#reader.start();
    addEventListener('online', this.#hurry);
    document.addEventListener('visibilitychange', this.#attend);
  }

  /** Closes the stream and forgets everything: the next session may belong to another tenant. */
  stop(): void {
    removeEventListener('online', this.#hurry);
    document.removeEventListener('visibilitychange', this.#attend);
    clearTimeout(this.#hiding);
    this.#unheard = false;
    this.#reader?.stop();
    this.#reader = null;
    for (const map of [this.videos, this.jobs, this.workers, this.#tasks, this.#touched]) map.clear();
    this.deleted.clear();
    this.state = 'off';
  }

  /**
   * Resolves once the stream is open, or after a moment without it: a list must not wait for events. The list is then loaded
   * again when the stream begins.
   */
  ready(): Promise<void> {
    if (this.state === 'open') return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      const giveUp = () => {
        this.#unheard ||= this.state !== 'open' && !this.#reader?.begun;
        resolve();
      };
      setTimeout(giveUp, document.hidden ? 0 : READY_WAIT);
    });
  }

  /** The present moment of the stream, taken before a GET. */
  mark(): number {
    return this.#clock;
  }

  /** Merges the reply of a GET that was sent at `mark`. */
  putVideos(videos: Video[], mark: number): void {
    for (const video of videos) if (this.#older(video.videoId, mark)) this.#keep(this.videos, video.videoId, video);
  }

  putJobs(jobs: JobSummary[], mark: number): void {
    for (const job of jobs) if (this.#older(job.jobId, mark)) this.#keep(this.jobs, job.jobId, job);
  }

  putWorkers(workers: Worker[], mark: number): void {
    for (const worker of workers) if (this.#older(worker.id, mark)) this.#keep(this.workers, worker.id, worker);
  }

  putTasks(jobId: string, tasks: Task[], mark: number): void {
    const set = this.tasks(jobId);
    for (const task of tasks) if (task.taskId && this.#older(task.taskId, mark)) set.put(task);
  }

  /** The tasks of a job; the same object for the same job until it is evicted. */
  tasks(jobId: string): TaskSet {
    let set = this.#tasks.get(jobId);
    if (!set) {
      set = new TaskSet();
      this.#tasks.set(jobId, set);
      const oldest = this.#tasks.keys().next();
      if (this.#tasks.size > JOBS_WITH_TASKS_MAX && !oldest.done) this.#tasks.delete(oldest.value);
    }
    return set;
  }

  /** Forgets a video that this tab deleted, before its event arrives. */
  forgetVideo(videoId: string): void {
    this.#clock += 1;
    this.#delete(videoId);
  }

  /** Takes over one event of the stream. */
  receive(event: ServerEvent): void {
    this.#clock += 1;
    const body = JSON.parse(event.data) as never;
    if (event.type === 'video') this.#update(this.videos, (body as Video).videoId, body);
    else if (event.type === 'job') this.#update(this.jobs, (body as JobSummary).jobId, body);
    else if (event.type === 'worker') this.#worker(body);
    else if (event.type === 'task') this.#task(body);
    else if (event.type === 'deleted') this.#delete((body as { videoId: string }).videoId);
    else if (event.type === 'reset') this.resets += 1;
  }

  #task(task: Task & { jobId: string }): void {
    if (!task.taskId) return;
    this.#touch(task.taskId);
    this.tasks(task.jobId).put(task);
  }

  /** A worker that has drained, or was replaced by another process of its name, leaves the list. */
  #worker(worker: Omit<Worker, 'state'> & { state: Worker['state'] | 'gone' }): void {
    this.#update(this.workers, worker.id, worker as Worker);
    if (worker.state === 'gone') this.workers.delete(worker.id);
  }

  #delete(videoId: string): void {
    this.#touch(videoId);
    this.deleted.add(videoId);
    this.videos.delete(videoId);
    for (const [id, job] of this.jobs) if (job.videoId === videoId) this.jobs.delete(id);
  }

  #update<T>(map: Map<string, T>, id: string, value: T): void {
    this.#touch(id);
    this.#keep(map, id, value);
  }

  #keep<T>(map: Map<string, T>, id: string, value: T): void {
    if (map.size >= KEPT_MAX && !map.has(id)) {
      const oldest = map.keys().next();
      if (!oldest.done) map.delete(oldest.value);
    }
    map.set(id, value);
  }

  #older(id: string, mark: number): boolean {
    return (this.#touched.get(id) ?? 0) <= mark && !this.deleted.has(id);
  }

  /** Remembers the moment of an event; moments that no request can still ask about are dropped. */
  #touch(id: string): void {
    this.#touched.delete(id);
    this.#touched.set(id, this.#clock);
    const oldest = this.#touched.keys().next();
    if (this.#touched.size > 20 * KEPT_MAX && !oldest.done) this.#touched.delete(oldest.value);
  }

  #changeState(state: LiveState, lost: boolean): void {
    this.state = state;
    if (state !== 'open') return;
    if (lost || this.#unheard) this.resets += 1;
    this.#unheard = false;
    this.#waiting.forEach((resolve) => resolve());
    this.#waiting = [];
  }

  #hurry = () => this.#reader?.hurry();

  /** The stream continues behind its last event when the tab is seen again. */
  #attend = () => {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#reader?.stop(), HIDDEN_MS);
    else this.#reader?.start();
  };
}

export const live = new Live();
