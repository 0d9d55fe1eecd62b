/** Unfinished uploads as the browser keeps them across reloads: without the file, which a person chooses again. */

export interface Stored {
  fingerprint: string;
  name: string;
  size: number;
  title: string;
  visibility: 'public' | 'private';
  url: string;
  videoId: string;
  /** Bytes that the service had when it was last asked. */
  sent: number;
  /** When the upload began, in milliseconds since 1970. */
  since: number;
}

/** Entries older than this are dropped; the service's own expiry is shorter by default. */
const AGE_MAX = 7 * 86_400_000;

/** Uploads belong to one subject of one tenant. */
export class UploadStore {
  readonly #key: string;

  constructor(
    owner: string,
    private readonly storage: Pick<Storage, 'getItem' | 'setItem'> = localStorage
  ) {
    this.#key = `streaming-console.uploads:${owner}`;
  }

  all(now = Date.now()): Stored[] {
    try {
      const entries = JSON.parse(this.storage.getItem(this.#key) ?? '[]') as Stored[];
      return Array.isArray(entries) ? entries.filter((entry) => entry.url && now - entry.since < AGE_MAX) : [];
    } catch {
      return [];
    }
  }

  /** Adds or replaces the entry of an upload. Without room in the storage the upload only loses its resumption. */
  put(entry: Stored): void {
    this.#write([...this.all().filter((other) => other.url !== entry.url), entry]);
  }

  remove(url: string): void {
    this.#write(this.all().filter((entry) => entry.url !== url));
  }

  #write(entries: Stored[]): void {
    try {
      this.storage.setItem(this.#key, JSON.stringify(entries));
    } catch {
      // The quota is used up.
    }
  }
}
