import { describe, expect, it } from 'vitest';
import { isLarger } from './profiles';

describe('a profile', () => {
  const hd = { width: 1280, height: 720 };

  it('fits sources of its size, also portrait ones', () => {
    expect(isLarger(hd, { width: 1280, height: 720 })).toBe(false);
    expect(isLarger(hd, { width: 1080, height: 1920 })).toBe(false);
  });

  it('is larger where one side is', () => {
    expect(isLarger(hd, { width: 1280, height: 536 })).toBe(true);
    expect(isLarger(hd, { width: 640, height: 360 })).toBe(true);
  });

  it('is offered before the size of the source is known', () => {
    expect(isLarger(hd, null)).toBe(false);
  });
});
