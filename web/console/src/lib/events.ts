/**
 * The live state of videos, jobs, tasks and workers: one stream of `/api/events` per tab.
 *
 * A screen first awaits `live.ready()`, then takes a mark, sends its GET and hands the reply over with that mark. An event that
 * arrived in between is newer than the reply and wins.
 */
export { live, Live, type LiveState } from './events/live.svelte';
