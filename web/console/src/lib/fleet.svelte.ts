/** The workers, read once per session and then kept by events. */
import { untrack } from 'svelte';
import { api, call } from './api';
import { ApiError, asApiError } from './api/problem';
import type { Worker } from './api/types';
import { live } from './events';
import { session } from './session';

/** The tenant whose callers see workers: the service lists them only to the operator's tenant. */
const OPERATOR_TENANT = 'default';

class Fleet {
  error: ApiError | null = $state.raw(null);
  /** The session and the reset for which the list is loaded. */
  #loaded: { me: unknown; resets: number } | null = $state.raw(null);
  #loading: Promise<void> | null = null;

  /** Whether workers are visible to this session. */
  get visible(): boolean {
    return session.me?.tenant === OPERATOR_TENANT;
  }

  /** Whether the list is complete. */
  get loaded(): boolean {
    return this.#loaded !== null && this.#loaded.me === session.me;
  }

  /** All workers, connected ones first, then by name. */
  get workers(): Worker[] {
    const rank = (worker: Worker) => ['connected', 'draining', 'lost'].indexOf(worker.state);
    return [...live.workers.values()].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  }

  /** Whether it is certain that no worker is connected. */
  get none(): boolean {
    return this.visible && this.loaded && !this.workers.some((worker) => worker.state !== 'lost');
  }

  /** Loads the list unless it is loaded; called by every screen that shows workers or their absence. */
  ensure(): Promise<void> {
    const current = this.loaded && this.#loaded?.resets === live.resets;
    if (!this.visible || current) return Promise.resolve();
    this.#loading ??= untrack(() => this.#load()).finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load(): Promise<void> {
    await live.ready();
    const [me, resets, mark] = [session.me, live.resets, live.mark()];
    try {
      const { workers } = await call(api.GET('/api/workers'));
      const listed = new Set(workers.map((worker) => worker.id));
      for (const id of live.workers.keys()) if (!listed.has(id)) live.workers.delete(id);
      live.putWorkers(workers, mark);
      this.#loaded = { me, resets };
      this.error = null;
    } catch (error) {
      this.error = asApiError(error);
    }
  }
}

export const fleet = new Fleet();
