/** Editing a video: what changed, and what was changed elsewhere meanwhile. Pure. */

/** The fields that people edit. */
export interface Editable {
  title: string;
  description: string;
  visibility: 'public' | 'private';
}

const FIELDS = ['title', 'description', 'visibility'] as const;

/** The editable fields of a video. */
export function editable(video: Editable): Editable {
  return { title: video.title, description: video.description, visibility: video.visibility };
}

/** The fields in which `draft` differs from `base`. */
export function changes(base: Editable, draft: Editable): Partial<Editable> {
  const changed = FIELDS.filter((field) => draft[field] !== base[field]);
  return Object.fromEntries(changed.map((field) => [field, draft[field]]));
}

/**
 * The fields that both `draft` and `current` changed since `base`, to different values. Encoding
 * changes other fields of a video all the time, which conflicts with nothing.
 */
export function conflicts(base: Editable, draft: Editable, current: Editable): (keyof Editable)[] {
  return FIELDS.filter(
    (field) =>
      draft[field] !== base[field] && current[field] !== base[field] && current[field] !== draft[field]
  );
}

/** `draft` with the fields that only `current` changed since `base`. */
export function merge(base: Editable, draft: Editable, current: Editable): Editable {
  return { ...editable(current), ...changes(base, draft) };
}
