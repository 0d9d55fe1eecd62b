-- Pictures and clips of a job, and what downloads are laid out from.

ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind_check
    CHECK (kind IN ('probe', 'chunk', 'audio', 'thumbnails', 'preview', 'collect'));

-- One proven object per picture; losers' objects are swept.
CREATE TABLE pictures (
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- 'poster', 'thumbnails/3', 'storyboard/0', 'preview'.
    name            TEXT NOT NULL,
    object_key      TEXT NOT NULL,
    bytes           BIGINT NOT NULL,
    sha256          BYTEA NOT NULL,
    -- Of a thumbnail: where in the film it is, in seconds.
    seconds         DOUBLE PRECISION,
    -- The fencing token of the lease that committed it.
    token           BIGINT NOT NULL,
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, name)
);

-- postcard of media::tables::ChunkTable: how large each sample is and when it is presented. NULL in rows
-- older than this column.
ALTER TABLE outputs ADD COLUMN samples BYTEA;

-- The sample tables of a completed job's renditions, gathered in one object each.
CREATE TABLE tables (
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- '720p', 'audio-0'.
    rendition       TEXT NOT NULL,
    object_key      TEXT NOT NULL,
    bytes           BIGINT NOT NULL,
    -- Of a rung: the size of its download; NULL of sound.
    download_bytes  BIGINT,
    PRIMARY KEY (job_id, rendition)
);
