/** The present moment for texts such as "3 minutes ago"; advances once per second while one is shown. */
import { createSubscriber } from 'svelte/reactivity';

const TICK = 1000;

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, TICK);
  return () => clearInterval(timer);
});

/** Milliseconds since 1970. */
export function now(): number {
  subscribe();
  return Date.now();
}
