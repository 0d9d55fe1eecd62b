/** Runs before the router reads the address, so that a one-time code never gets into its history. */
import { takeCode } from '$lib/session';

export const code = takeCode();
