/** Which profiles fit a source. Pure; control decides, this only explains before the request. */

export interface Box {
  width: number;
  height: number;
}

/** Whether a profile's box is larger than the source; the box is turned for portrait sources. */
export function isLarger(profile: Box, source: Box | null): boolean {
  if (!source) return false;
  const small = (box: Box) => Math.min(box.width, box.height);
  const large = (box: Box) => Math.max(box.width, box.height);
  return small(profile) > small(source) || large(profile) > large(source);
}
