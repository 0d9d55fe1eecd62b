/** The job that a component shows: its live view and its actions, for as long as the component exists. */
import { untrack } from 'svelte';
import { live } from '../events';
import { JobActions } from './actions.svelte';
import { JobView } from './view.svelte';

/** Opens the view of the job with this id, which may change, and reads it again after a gap in the events. */
export function shownJob(id: () => string): { readonly view: JobView; readonly control: JobActions } {
  const view = $derived(new JobView(id()));
  const control = $derived(new JobActions(id()));
  $effect(() => {
    const opened = view;
    return () => opened.close();
  });
  $effect(() => {
    void live.resets;
    const opened = view;
    void untrack(() => opened.load());
  });
  return {
    get view() {
      return view;
    },
    get control() {
      return control;
    }
  };
}
