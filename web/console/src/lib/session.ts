export { session, takeCode, type Right } from './session.svelte';
