import { confirmation, type Question } from './confirm.svelte';

/** Resolves to true when the person agrees. */
export function confirm(question: Question): Promise<boolean> {
  return confirmation.ask(question);
}
