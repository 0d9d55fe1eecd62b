import { describe, expect, it } from 'vitest';
import { clamp, labelStep, move, OVERSCAN, reveal, visible } from './window';

describe('the columns in the page', () => {
  it('are the visible ones and a margin', () => {
    expect(visible(1000, 200, 10, 10_000)).toEqual([100 - OVERSCAN, 120 + OVERSCAN]);
  });

  it('stay inside the grid', () => {
    expect(visible(-50, 200, 10, 12)).toEqual([0, 12]);
    expect(visible(1e9, 200, 10, 12)).toEqual([11, 12]);
    expect(visible(0, 200, 10, 0)).toEqual([0, 0]);
  });
});

describe('the scroll position that shows a column', () => {
  it('stays where the column is visible', () => {
    expect(reveal(5, 40, 100, 10)).toBe(40);
  });

  it('moves as little as possible', () => {
    expect(reveal(2, 40, 100, 10)).toBe(20);
    expect(reveal(20, 40, 100, 10)).toBe(110);
  });
});

describe('keys', () => {
  const size = { rows: 3, columns: 10_000, page: 50 };
  const from = { row: 1, column: 100 };

  it.each([
    ['ArrowLeft', false, { row: 1, column: 99 }],
    ['ArrowRight', false, { row: 1, column: 101 }],
    ['ArrowUp', false, { row: 0, column: 100 }],
    ['ArrowDown', false, { row: 2, column: 100 }],
    ['PageUp', false, { row: 1, column: 51 }],
    ['PageDown', false, { row: 1, column: 149 }],
    ['Home', false, { row: 1, column: 0 }],
    ['End', false, { row: 1, column: 9999 }],
    ['Home', true, { row: 0, column: 0 }],
    ['End', true, { row: 2, column: 9999 }]
  ])('%s (ctrl %s) moves the focus', (key, ctrl, to) => {
    expect(move(from, key, ctrl, size)).toEqual(to);
  });

  it('stop at the edges', () => {
    expect(move({ row: 0, column: 0 }, 'ArrowUp', false, size)).toEqual({ row: 0, column: 0 });
    expect(move({ row: 2, column: 9999 }, 'PageDown', false, size)).toEqual({ row: 2, column: 9999 });
  });

  it('leave other keys to the page', () => {
    expect(move(from, 'Tab', false, size)).toBeNull();
    expect(move(from, 'a', false, size)).toBeNull();
  });

  it('find a place in a grid that became smaller', () => {
    expect(clamp({ row: 5, column: 70 }, 2, 10)).toEqual({ row: 1, column: 9 });
    expect(clamp({ row: 0, column: 0 }, 0, 0)).toEqual({ row: 0, column: 0 });
  });
});

describe('the time axis', () => {
  it('labels more chunks the wider they are', () => {
    expect(labelStep(60, 48)).toBe(1);
    expect(labelStep(20, 48)).toBe(3);
    expect(labelStep(14, 48)).toBe(6);
    expect(labelStep(4, 48)).toBe(15);
  });

  it('never lets labels overlap', () => {
    for (const size of [0.1, 0.5, 1, 3, 7, 14, 33]) {
      expect(labelStep(size, 48) * size).toBeGreaterThanOrEqual(48);
    }
  });
});
