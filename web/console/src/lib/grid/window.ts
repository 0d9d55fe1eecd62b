/** Which columns of a wide grid are in the page, and where the keyboard moves. Pure. */

/** A position in the grid. */
export interface Position {
  row: number;
  column: number;
}

/** Columns on each side of the visible ones that are in the page, too. */
export const OVERSCAN = 6;

/**
 * The columns `[start, end)` to put into the page.
 *
 * `left` is the scroll position and `width` the visible width in pixels, `size` a column's width.
 */
export function visible(left: number, width: number, size: number, count: number): [number, number] {
  const first = Math.floor(Math.max(left, 0) / size) - OVERSCAN;
  const last = Math.ceil((Math.max(left, 0) + Math.max(width, 0)) / size) + OVERSCAN;
  const start = Math.min(Math.max(first, 0), Math.max(count - 1, 0));
  return [start, Math.min(Math.max(last, start), count)];
}

/** The scroll position that shows `column` completely, as near as possible to `left`. */
export function reveal(column: number, left: number, width: number, size: number): number {
  const start = column * size;
  if (start < left) return start;
  if (start + size > left + width) return Math.max(start + size - width, 0);
  return left;
}

/**
 * Where a key moves the focus in a grid of `rows` × `columns`, by the ARIA pattern for grids;
 * `null` for keys that do not move it. `page` is how many columns are visible.
 */
export function move(
  from: Position,
  key: string,
  ctrl: boolean,
  size: { rows: number; columns: number; page: number }
): Position | null {
  const to = { ...from };
  const page = Math.max(size.page - 1, 1);
  switch (key) {
    case 'ArrowLeft':
      to.column -= 1;
      break;
    case 'ArrowRight':
      to.column += 1;
      break;
    case 'ArrowUp':
      to.row -= 1;
      break;
    case 'ArrowDown':
      to.row += 1;
      break;
    case 'PageUp':
      to.column -= page;
      break;
    case 'PageDown':
      to.column += page;
      break;
    case 'Home':
      to.column = 0;
      if (ctrl) to.row = 0;
      break;
    case 'End':
      to.column = size.columns - 1;
      if (ctrl) to.row = size.rows - 1;
      break;
    default:
      return null;
  }
  return clamp(to, size.rows, size.columns);
}

/** The nearest position inside a grid of `rows` × `columns`. */
export function clamp(at: Position, rows: number, columns: number): Position {
  const inside = (value: number, count: number) => Math.max(Math.min(value, count - 1), 0);
  return { row: inside(at.row, rows), column: inside(at.column, columns) };
}

/**
 * How many columns lie between two labels of the time axis, so that labels of `label` pixels do
 * not overlap. Steps are 1, 3, 15, 30, 90, 180 and so on: chunks last 20 s, so labels are at full
 * minutes or multiples of five minutes as soon as the columns are that narrow.
 */
export function labelStep(size: number, label: number): number {
  const steps = [1, 3, 6, 15, 30, 90, 180];
  return steps.find((step) => step * size >= label) ?? Math.ceil(label / size / 180) * 180;
}
