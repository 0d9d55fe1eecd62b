import { describe, expect, it } from 'vitest';
import { filters, matches, queryOf } from './filter';

describe('the filter of jobs', () => {
  it('asks for running jobs to find those that are retried', () => {
    expect(queryOf('retrying')).toEqual({ state: ['running'] });
    expect(queryOf('failed')).toEqual({ state: ['failed'] });
    expect(queryOf('all')).toEqual({});
  });

  it('shows a running job as retrying only above the first attempt', () => {
    const found = (attempt: number) => filters.filter((f) => matches(f, { state: 'running', attempt }));
    expect(found(1)).toEqual(['all', 'running']);
    expect(found(2)).toEqual(['all', 'running', 'retrying']);
  });

  it('drops a job that has left the state', () => {
    expect(matches('queued', { state: 'running', attempt: 1 })).toBe(false);
    expect(matches('retrying', { state: 'failed', attempt: 4 })).toBe(false);
  });
});
