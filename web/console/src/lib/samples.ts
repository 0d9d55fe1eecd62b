/** Samples of the system's figures that this tab has taken, for small charts. Pure. */

/** Seconds between two samples while the screen is visible: 30 of 100 requests in 15 minutes. */
export const SAMPLE_SECONDS = 30;
/** The most samples that are kept: an hour. */
export const SAMPLES_MAX = 120;
/** Sampling pauses while fewer requests than this remain, so that the user can still work. */
export const RESERVED_REQUESTS = 25;

/** A moment in seconds since 1970 and one value per series; `null` where data are missing. */
export interface Sample {
  at: number;
  values: (number | null)[];
}

/** The samples with one more, without the oldest ones beyond {@link SAMPLES_MAX}. */
export function append(samples: readonly Sample[], sample: Sample): Sample[] {
  return [...samples.slice(-(SAMPLES_MAX - 1)), sample];
}

/** The columns that uPlot draws: the times, then the chosen series. */
export function columns(
  samples: readonly Sample[],
  series: readonly number[]
): [number[], ...(number | null)[][]] {
  const values = series.map((index) => samples.map((sample) => sample.values[index] ?? null));
  return [samples.map((sample) => sample.at), ...values];
}

/** The labels of an axis; between whole numbers there are none, because a rounded label would stand for another value. */
export function tickLabels(ticks: readonly number[], format: (value: number) => string, whole: boolean): string[] {
  return ticks.map((tick) => (whole && !Number.isInteger(tick) ? '' : format(tick)));
}

/**
 * Seconds until the next sample. `limit` is the rate limit in the last reply, `null` if it had
 * none: requests come back evenly, the whole limit within `resetSeconds`.
 */
export function nextSample(limit: { limit: number; remaining: number; resetSeconds: number } | null): number {
  if (!limit || limit.remaining >= RESERVED_REQUESTS) return SAMPLE_SECONDS;
  const missing = Math.max(limit.limit - limit.remaining, 1);
  const reserve = Math.min(RESERVED_REQUESTS, limit.limit) - limit.remaining;
  return Math.max(SAMPLE_SECONDS, Math.ceil((limit.resetSeconds / missing) * reserve));
}
