/** One upload over tus by tus-js-client; retries are the queue's decision. */
import type { DetailedError, HttpResponse, Upload } from 'tus-js-client';
import { bearer } from '../api';
import { limits } from '../api/limits.svelte';
import { ApiError, retryAfter } from '../api/problem';
import type { Problem } from '../api/types';

/** Bytes per request at most. */
export const CHUNK = 8 * 1024 * 1024;
/** A request without progress for this long is cut off and repeated, in milliseconds. */
const STALL_MAX = 40_000;

export interface TransferOptions {
  file: File;
  endpoint: string;
  /** The upload to go on with; null begins a new one. */
  url: string | null;
  /** The name of a new upload: beginning it again, after a lost reply, goes on with the first one. */
  key: string;
  metadata: Record<string, string>;
  onCreated(url: string, videoId: string): void;
  /** `accepted` counts bytes that the service has acknowledged, `sent` also those on the way. */
  onProgress(sent: number): void;
  onAccepted(accepted: number): void;
  onDone(): void;
  onFailed(error: ApiError): void;
}

function problemOf(response: HttpResponse, cause: Error): ApiError {
  const wait = retryAfter(response.getHeader('Retry-After'));
  const retryAt = wait === null ? null : Date.now() + wait * 1000;
  const id = response.getHeader('X-Request-Id') ?? null;
  try {
    const problem = JSON.parse(response.getBody()) as Problem;
    return new ApiError(response.getStatus(), problem.code, problem.detail, problem.errors ?? [], retryAt, id);
  } catch {
    return new ApiError(response.getStatus(), codeOf(response.getStatus()), cause.message, [], retryAt, id);
  }
}

/** Replies to HEAD have no body, so the status stands for the code. */
function codeOf(status: number): ApiError['code'] {
  const codes: Record<number, ApiError['code']> = { 401: 'unauthenticated', 403: 'permission_denied', 404: 'not_found', 423: 'locked' };
  return codes[status] ?? (status >= 500 ? 'unavailable' : 'unreadable');
}

/** The upload's URL below `endpoint`: a proxy's path prefix is missing in the service's `Location`. */
export function below(endpoint: string, location: string): string {
  return `${endpoint}/${location.split('/').pop()}`;
}

export class Transfer {
  #upload: Upload | null = null;
  #stopped = false;
  #watchdog: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: TransferOptions) {}

  async start(): Promise<void> {
    const tus = await import('tus-js-client');
    if (this.#stopped) return;
    const { file, endpoint, url, key, metadata } = this.options;
    let videoId = '';
    const upload = new tus.Upload(file, {
      // Without an endpoint tus-js-client reports an unknown upload instead of silently beginning another one.
      ...(url ? { uploadUrl: url } : { endpoint }),
      metadata,
      chunkSize: CHUNK,
      retryDelays: null as never,
      storeFingerprintForResuming: false,
      onBeforeRequest: (request) => {
        request.setHeader('Authorization', `Bearer ${bearer() ?? ''}`);
        if (request.getMethod() === 'POST') request.setHeader('Idempotency-Key', `"${key}"`);
      },
      onAfterResponse: (request, response) => {
        videoId = response.getHeader('Video-Id') ?? videoId;
        const headers = { get: (name: string) => response.getHeader(name) };
        limits.note(request.getMethod() === 'POST' ? 'upload' : null, headers);
      },
      onUploadUrlAvailable: () => {
        if (!url && upload.url) {
          upload.url = below(endpoint, upload.url);
          this.options.onCreated(upload.url, videoId);
        }
      },
      onProgress: (sent) => {
        this.#watch();
        if (!this.#stopped) this.options.onProgress(sent);
      },
      onChunkComplete: (_size, accepted) => !this.#stopped && this.options.onAccepted(accepted),
      onSuccess: () => this.#settle(() => this.options.onDone()),
      onError: (error) => this.#settle(() => this.options.onFailed(this.#problem(error)))
    });
    this.#upload = upload;
    this.#watch();
    upload.start();
  }

  /** Ends the running request; what the service has received stays there. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#watchdog);
    await this.#upload?.abort(false).catch(() => {});
  }

  #problem(error: Error | DetailedError): ApiError {
    const response = 'originalResponse' in error ? error.originalResponse : null;
    return response ? problemOf(response, error) : new ApiError(0, 'offline', error.message);
  }

  #settle(report: () => void): void {
    clearTimeout(this.#watchdog);
    if (!this.#stopped) report();
  }

  #watch(): void {
    clearTimeout(this.#watchdog);
    if (this.#stopped) return;
    this.#watchdog = setTimeout(() => {
      void this.stop().then(() => this.options.onFailed(new ApiError(0, 'offline', 'no progress')));
    }, STALL_MAX);
  }
}
