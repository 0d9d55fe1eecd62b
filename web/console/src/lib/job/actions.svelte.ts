/** Actions on a job: retry it, cancel it. */
import { api, call } from '../api';
import { asApiError, type ApiError } from '../api/problem';
import type { Job } from '../api/types';
import { confirm } from '../confirm';
import { live } from '../events';
import { m } from '../i18n';
import { toast } from '../toast';

/** The actions on one job; `error` is why the last one failed. */
export class JobActions {
  busy: 'retry' | 'cancel' | null = $state(null);
  error: ApiError | null = $state.raw(null);

  constructor(readonly jobId: string) {}

  /** Queues the parts that are not encoded yet. */
  retry(): Promise<void> {
    const params = { path: { id: this.jobId } };
    return this.#run('retry', () => call(api.POST('/api/jobs/{id}/retry', { params })), m().jobs.retried);
  }

  /** Cancels the job, after asking. */
  async cancel(percent: number): Promise<void> {
    const t = m().jobs;
    const yes = await confirm({
      title: t.cancelTitle,
      text: t.cancelText,
      loses: [t.cancelLoses(percent)],
      action: t.cancel,
      keep: t.cancelKeep
    });
    if (!yes) return;
    const params = { path: { id: this.jobId } };
    await this.#run('cancel', () => call(api.DELETE('/api/jobs/{id}', { params })), t.cancelled);
  }

  async #run(action: 'retry' | 'cancel', send: () => Promise<Job>, done: string): Promise<void> {
    this.busy = action;
    this.error = null;
    const mark = live.mark();
    try {
      const { tasks, ...job } = await send();
      live.putJobs([job], mark);
      live.putTasks(this.jobId, tasks, mark);
      toast(done);
    } catch (error) {
      this.error = asApiError(error);
    } finally {
      this.busy = null;
    }
  }
}
