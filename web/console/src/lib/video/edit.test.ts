import { describe, expect, it } from 'vitest';
import { changes, conflicts, editable, merge, type Editable } from './edit';

const base: Editable = { title: 'Harbour', description: '', visibility: 'public' };

describe('changes', () => {
  it('are only the fields that differ', () => {
    expect(changes(base, { ...base, title: 'Harbour at dawn' })).toEqual({ title: 'Harbour at dawn' });
    expect(changes(base, { ...base })).toEqual({});
  });

  it('may empty a field', () => {
    expect(changes({ ...base, description: 'x' }, base)).toEqual({ description: '' });
  });
});

describe('conflicts', () => {
  const draft = { ...base, title: 'Mine' };

  it('are fields that both sides changed to different values', () => {
    expect(conflicts(base, draft, { ...base, title: 'Theirs' })).toEqual(['title']);
  });

  it('are not fields that only one side changed', () => {
    expect(conflicts(base, draft, { ...base, description: 'Theirs' })).toEqual([]);
    expect(conflicts(base, base, { ...base, title: 'Theirs' })).toEqual([]);
  });

  it('are not fields that both sides changed to the same value', () => {
    expect(conflicts(base, draft, { ...base, title: 'Mine' })).toEqual([]);
  });
});

describe('merging', () => {
  it('keeps the draft and takes over what only the other side changed', () => {
    const draft = { ...base, title: 'Mine' };
    const current = { ...base, title: 'Theirs', visibility: 'private' as const };
    expect(merge(base, draft, current)).toEqual({ title: 'Mine', description: '', visibility: 'private' });
  });

  it('ignores the other fields of a video', () => {
    const video = { ...base, state: 'processing', videoId: 'v' };
    expect(editable(video)).toEqual(base);
  });
});
