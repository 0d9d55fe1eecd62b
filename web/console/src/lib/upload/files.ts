/** Adds files to the queue and shows a message for each that was not added. */
import { m } from '../i18n';
import { toast } from '../toast';
import { queue } from './queue.svelte';

export async function addFiles(files: Iterable<File>): Promise<void> {
  const words = m().upload;
  for (const { kind, name } of await queue.add(files)) {
    toast(kind === 'empty' ? words.empty(name) : kind === 'other' ? words.otherFile(name) : words.duplicate(name));
  }
}
