-- Text tracks: tasks that take embedded ones out of a source, and uploaded ones.

-- Tracks of a source are among the pictures of their job, as 'subtitles/1'.
ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind_check
    CHECK (kind IN ('probe', 'chunk', 'audio', 'subtitles', 'thumbnails', 'preview', 'collect'));

-- Uploaded text tracks. They belong to the video, not to a job.
CREATE TABLE captions (
    id              UUID PRIMARY KEY,
    video_id        UUID NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    -- BCP 47; 'und' when unknown.
    language        TEXT NOT NULL,
    -- What people choose it by; made unique where it is listed.
    label           TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('subtitles', 'captions')),
    -- Whether its upload asked for it; of several the last one counts.
    is_default      BOOLEAN NOT NULL,
    -- The track in its canonical form, in the video's store.
    object_key      TEXT NOT NULL,
    bytes           BIGINT NOT NULL,
    sha256          BYTEA NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- All of one video, by age.
CREATE INDEX captions_by_video ON captions (video_id, created_at, id);
