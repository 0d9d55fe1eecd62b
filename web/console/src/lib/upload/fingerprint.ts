/** Recognises a file that is chosen again: the same content, under any name and date. */

/** Bytes read at the start, the middle and the end of a file. */
const SAMPLE = 64 * 1024;

/** cyrb53, a fast 53-bit hash; it need not withstand attacks, since a person only mixes up their own files. */
export function hash(bytes: Uint8Array): string {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 2654435761);
    b = Math.imul(b ^ byte, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}

/**
 * A name for the content of `file` at this endpoint: its size and a hash of three samples.
 *
 * Throws when the file cannot be read, as happens with folders and with files that were moved away.
 */
export async function fingerprint(file: Blob, endpoint: string): Promise<string> {
  const starts = [0, Math.max(0, Math.floor(file.size / 2) - SAMPLE / 2), Math.max(0, file.size - SAMPLE)];
  const samples = await Promise.all(starts.map((start) => file.slice(start, start + SAMPLE).arrayBuffer()));
  const joined = new Uint8Array(await new Blob(samples).arrayBuffer());
  return `${endpoint}#${file.size}-${hash(joined)}`;
}

/** The title that a file's name suggests. */
export function titleOf(name: string): string {
  return name.replace(/\.[^.]{1,8}$/, '').slice(0, 200) || name;
}
