/** One job with its tasks, read once and then kept by events. */
import { api, call } from '../api';
import { ApiError, asApiError } from '../api/problem';
import type { Job, JobSummary } from '../api/types';
import { live } from '../events';
import { Grid, type Task } from '../grid/model';

/** The state to display: a running job with an attempt above 1 is retrying. */
export type JobWord = Job['state'] | 'retrying';

/** The word for a job's state. */
export function jobWord(job: Pick<Job, 'state' | 'attempt'>): JobWord {
  return job.state === 'running' && (job.attempt ?? 0) > 1 ? 'retrying' : job.state;
}

/** Whether the job still changes. */
export function isActive(job: Pick<Job, 'state'>): boolean {
  return job.state === 'queued' || job.state === 'running';
}

/** A job on screen. `close` ends it. */
export class JobView {
  /** Plain data; `version` rises with each of its changes. */
  grid = new Grid();
  version = $state(0);
  loaded = $state(false);
  error: ApiError | null = $state.raw(null);
  #videoId = $state('');
  readonly #unsubscribe: () => void;

  constructor(readonly jobId: string) {
    this.#unsubscribe = live.tasks(jobId).subscribe((changed) => this.#apply(changed as Task[]));
  }

  /** The job without its tasks; `undefined` until it is loaded. */
  get job(): JobSummary | undefined {
    return live.jobs.get(this.jobId);
  }

  /** Whether the job does not exist, or was deleted with its video while this tab was open. */
  get gone(): boolean {
    const unknown = this.error?.status === 404 || this.error?.code === 'invalid_id';
    return unknown || live.deleted.has(this.#videoId);
  }

  /** Reads the job and all its tasks. */
  async load(): Promise<void> {
    await live.ready();
    const mark = live.mark();
    try {
      const { tasks, ...job } = await call(
        api.GET('/api/jobs/{id}', { params: { path: { id: this.jobId } } })
      );
      live.putJobs([job], mark);
      live.putTasks(this.jobId, tasks, mark);
      // The order of the renditions is the job's; tasks that events brought before are in it, too.
      this.grid = new Grid(job.profiles, [...live.tasks(this.jobId).byId.values()] as Task[]);
      this.version++;
      this.#videoId = job.videoId;
      this.loaded = true;
      this.error = null;
    } catch (error) {
      this.error = asApiError(error);
    }
  }

  close(): void {
    this.#unsubscribe();
  }

  #apply(changed: Task[]): void {
    for (const task of changed) this.grid.apply(task);
    this.version++;
  }
}
