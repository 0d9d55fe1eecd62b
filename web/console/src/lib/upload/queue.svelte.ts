/** The queue of uploads of this tab; it outlives the Upload screen. */
import { api, call, send, tokenRejected } from '../api';
import { ApiError, asApiError } from '../api/problem';
import type { Video } from '../api/types';
import { live } from '../events';
import { serviceUrl } from '../paths';
import { fingerprint } from './fingerprint';
import { Item, type Visibility } from './item.svelte';
import { next } from './retry';
import { UploadStore } from './store';
import { Transfer } from './transfer';

/** Files that are sent at the same time. */
const PARALLEL = 2;
const VISIBILITY_KEY = 'streaming-console.visibility';

/** A file that was not added to the queue. */
export type RejectedFile = { kind: 'duplicate' | 'empty' | 'other'; name: string };

class UploadQueue {
  items: Item[] = $state([]);
  visibility: Visibility = $state(localStorage.getItem(VISIBILITY_KEY) === 'private' ? 'private' : 'public');

  #owner: string | null = null;
  #store: UploadStore | null = null;
  #transfers = new Map<Item, Transfer>();
  #timers = new Map<Item, ReturnType<typeof setTimeout>>();
  #locks = new Map<Item, () => void>();
  #endpoint = new URL(serviceUrl('/api/uploads'), location.href).href;

  constructor() {
    addEventListener('online', () => this.items.forEach((item) => item.phase === 'retrying' && this.retry(item)));
  }

  /** Whether an upload is under way, so that a person may want to wait. */
  get busy(): boolean {
    return this.items.some((item) => ['sending', 'waiting', 'retrying'].includes(item.phase));
  }

  chooseVisibility(value: Visibility): void {
    this.visibility = value;
    localStorage.setItem(VISIBILITY_KEY, value);
  }

  /** Begins or continues the queue of the person who signed in. */
  async attach(owner: string): Promise<void> {
    if (owner !== this.#owner) {
      this.suspend();
      this.#owner = owner;
      this.#store = new UploadStore(owner);
      const restored = this.#store.all().map((entry) => Item.restore(entry));
      this.items = restored;
      await Promise.all(restored.map((item) => this.#inspect(item)));
      return;
    }
    for (const item of this.items) if (item.phase === 'signed-out') item.phase = item.file ? 'waiting' : 'needs-file';
    this.#pump();
  }

  /** Stops all transfers because the session ended. */
  suspend(): void {
    for (const item of this.items) {
      if (!['sending', 'waiting', 'retrying'].includes(item.phase)) continue;
      void this.#halt(item);
      item.phase = 'signed-out';
    }
  }

  /** Adds files; a file whose upload was interrupted continues it. Returns those that were not added. */
  async add(files: Iterable<File>): Promise<RejectedFile[]> {
    const added = await Promise.all([...files].map((file) => this.#addOne(file)));
    this.#pump();
    return added.filter((rejected) => rejected !== null);
  }

  /** Continues `item` with a file that was chosen for it. */
  async supply(item: Item, file: File): Promise<RejectedFile | null> {
    const print = await fingerprint(file, this.#endpoint).catch(() => '');
    if (print !== item.fingerprint) return { kind: 'other', name: item.name };
    item.file = file;
    item.phase = 'waiting';
    this.#pump();
    return null;
  }

  async pause(item: Item): Promise<void> {
    await this.#halt(item);
    item.phase = 'paused';
    this.#pump();
  }

  resume(item: Item): void {
    item.phase = item.file ? 'waiting' : 'needs-file';
    this.#pump();
  }

  /** Tries again at once, after a failure or instead of waiting. */
  retry(item: Item): void {
    if (this.#transfers.has(item)) return;
    clearTimeout(this.#timers.get(item));
    item.error = null;
    if (item.phase === 'failed') item.failures = 0;
    item.phase = item.file ? 'waiting' : 'needs-file';
    this.#pump();
  }

  /** Ends an upload and deletes what the service has of it. */
  async cancel(item: Item): Promise<void> {
    await this.#halt(item);
    this.remove(item);
    const upload = item.url?.split('/').pop();
    if (!upload) return;
    const request = new Request(item.url!, { method: 'DELETE', headers: { 'tus-resumable': '1.0.0' } });
    await send(request).catch(() => null);
  }

  /** Takes an entry out of the list. */
  remove(item: Item): void {
    this.items = this.items.filter((other) => other !== item);
    if (item.url) this.#store?.remove(item.url);
    this.#unlock(item);
    this.#pump();
  }

  /** Changes the title or visibility, before the upload begins or at any time afterwards. */
  async change(item: Item, change: { title?: string; visibility?: Visibility }): Promise<void> {
    Object.assign(item, change);
    this.#save(item);
    if (!item.videoId) return;
    await call(api.PATCH('/api/videos/{id}', { params: { path: { id: item.videoId } }, body: change }));
  }

  async #addOne(file: File): Promise<RejectedFile | null> {
    if (file.size === 0) return { kind: 'empty', name: file.name };
    const item = new Item(file, file.name, file.size, this.visibility);
    this.items.unshift(item);
    try {
      item.fingerprint = await fingerprint(file, this.#endpoint);
    } catch (error) {
      item.error = new ApiError(0, 'unreadable_file', error instanceof Error ? error.message : '');
      item.phase = 'failed';
      return null;
    }
    const same = this.items.find((other) => other !== item && other.fingerprint === item.fingerprint && other.unfinished);
    if (same) {
      this.items = this.items.filter((other) => other !== item);
      if (same.file && same.phase !== 'failed') return { kind: 'duplicate', name: file.name };
      same.file = file;
      this.retry(same);
      return null;
    }
    item.phase = 'waiting';
    return null;
  }

  #pump(): void {
    const running = this.items.filter((item) => this.#transfers.has(item)).length;
    // The newest entry stands first, and the oldest is sent first.
    const ready = this.items.filter((item) => item.phase === 'waiting').reverse();
    for (const item of ready.slice(0, Math.max(0, PARALLEL - running))) void this.#send(item);
  }

  async #send(item: Item): Promise<void> {
    if (!item.file) return;
    item.phase = 'sending';
    item.retryAt = null;
    const { key, title, visibility } = (item.creation ??= {
      key: Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-'),
      title: item.title,
      visibility: item.visibility
    });
    const transfer = new Transfer({
      file: item.file,
      endpoint: this.#endpoint,
      url: item.url,
      key,
      metadata: {
        filename: item.name,
        filetype: item.file.type,
        title,
        visibility,
        transcode: 'auto'
      },
      onCreated: (url, videoId) => this.#created(item, url, videoId, { title, visibility }),
      onProgress: (sent) => item.progressed(sent),
      onAccepted: (accepted) => {
        item.failures = 0;
        item.sent = Math.max(item.sent, accepted);
        this.#save(item);
      },
      onDone: () => this.#done(item),
      onFailed: (error) => void this.#failed(item, error)
    });
    this.#transfers.set(item, transfer);
    this.#lock(item);
    await transfer.start().catch((error) => this.#failed(item, asApiError(error)));
  }

  #created(item: Item, url: string, videoId: string, announced: { title: string; visibility: Visibility }): void {
    item.url = url;
    item.videoId = videoId || null;
    this.#save(item);
    // A person may have changed them during the request.
    const { title, visibility } = item;
    if (title === announced.title && visibility === announced.visibility) return;
    void this.change(item, { title, visibility }).catch((error) => (item.error = asApiError(error)));
  }

  #done(item: Item): void {
    item.sent = item.size;
    item.sentAt = Date.now();
    item.phase = 'sent';
    item.rest();
    item.error = null;
    this.#release(item);
    if (item.url) this.#store?.remove(item.url);
    if (item.videoId && !live.videos.has(item.videoId)) void this.#read(item.videoId);
    this.#pump();
  }

  async #failed(item: Item, error: ApiError): Promise<void> {
    item.rest();
    this.#release(item);
    // The upload of this name has expired, so the next attempt begins another one.
    if (!item.url && error.status === 409) item.creation = null;
    const decision = next(error, item.failures++);
    if (decision.act === 'wait') {
      item.phase = 'retrying';
      item.why = decision.why;
      item.retryAt = Date.now() + decision.milliseconds;
      this.#timers.set(item, setTimeout(() => this.retry(item), decision.milliseconds));
    } else if (decision.act === 'sign-in') {
      item.phase = 'signed-out';
      tokenRejected();
    } else if (decision.act === 'unknown' && item.url) {
      await this.#lost(item, error);
    } else {
      item.error = error;
      item.phase = 'failed';
    }
    this.#pump();
  }

  /** The service no longer has the upload: its last reply may be missing, or it expired and its video with it. */
  async #lost(item: Item, error: ApiError): Promise<void> {
    const video = item.videoId ? await this.#read(item.videoId) : null;
    if (video && video.state !== 'uploading') return this.#done(item);
    if (item.url) this.#store?.remove(item.url);
    item.url = null;
    item.creation = null;
    item.videoId = null;
    item.sent = 0;
    if (item.file && item.failures < 3) item.phase = 'waiting';
    else {
      item.error = error;
      item.phase = 'failed';
    }
  }

  async #read(id: string): Promise<Video | null> {
    const mark = live.mark();
    try {
      const video = await call(api.GET('/api/videos/{id}', { params: { path: { id } } }));
      live.putVideos([video], mark);
      return video;
    } catch {
      return null;
    }
  }

  /** Asks how far a restored upload got; one that another tab is sending is left alone, because asking would interrupt it. */
  async #inspect(item: Item): Promise<void> {
    const held = (await navigator.locks?.query())?.held?.some((lock) => lock.name === this.#lockName(item)) ?? false;
    if (held) {
      this.items = this.items.filter((other) => other !== item);
      return;
    }
    const request = new Request(item.url!, { method: 'HEAD', headers: { 'tus-resumable': '1.0.0' } });
    const response = await send(request).catch(() => null);
    const offset = Number(response?.headers.get('upload-offset') ?? Number.NaN);
    if (response?.ok && Number.isFinite(offset)) {
      item.sent = offset;
      if (offset === item.size) this.#done(item);
    } else if (response?.status === 404) {
      await this.#lost(item, new ApiError(404, 'not_found', ''));
      // Nothing is left to go on with, and without the file nothing can begin again.
      if (item.phase !== 'sent') this.remove(item);
    }
  }

  #save(item: Item): void {
    const entry = item.phase === 'sent' ? null : item.stored();
    if (entry) this.#store?.put(entry);
  }

  async #halt(item: Item): Promise<void> {
    clearTimeout(this.#timers.get(item));
    const transfer = this.#transfers.get(item);
    this.#release(item);
    item.rest();
    await transfer?.stop();
  }

  #release(item: Item): void {
    this.#transfers.delete(item);
    this.#unlock(item);
  }

  /** Shows other tabs that this one sends the upload; they share the stored entries. */
  #lock(item: Item): void {
    if (this.#locks.has(item)) return;
    const held = new Promise<void>((release) => this.#locks.set(item, release));
    void navigator.locks?.request(this.#lockName(item), () => held).catch(() => {});
  }

  #unlock(item: Item): void {
    this.#locks.get(item)?.();
    this.#locks.delete(item);
  }

  #lockName(item: Item): string {
    return `streaming-upload:${item.fingerprint}`;
  }
}

export const queue = new UploadQueue();
