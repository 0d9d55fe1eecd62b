-- Lists that are searched, filtered and sorted by title; the place of queued jobs; the time from an upload to
-- playback; jobs that control creates by itself when a probe succeeds; versions of workers.

-- Orders titles as people do, in every language and regardless of the database's own locale. A server without ICU
-- orders them by their code points.
DO $$
BEGIN
    CREATE COLLATION title_order (provider = icu, locale = 'und');
EXCEPTION WHEN OTHERS THEN
    CREATE COLLATION title_order FROM "C";
END
$$;

-- The key by which titles are searched and ordered: without the difference of upper and lower case. The Greek sigma has
-- two lower-case forms, which depend on its place in the word.
CREATE FUNCTION title_key(title TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN replace(lower(title COLLATE title_order), 'ς', 'σ');

ALTER TABLE videos
    -- Whether control creates a job with the default options once the source is probed; false again from then on.
    ADD COLUMN auto_transcode BOOLEAN NOT NULL DEFAULT false,
    -- When the last byte of the source had arrived; NULL before, and for sources that an earlier release received.
    ADD COLUMN received_at TIMESTAMPTZ,
    -- When the first segment of the video was listed for players; stays when the video is transcoded again.
    ADD COLUMN playable_at TIMESTAMPTZ;

-- ListVideos: one tenant's, by title.
CREATE INDEX videos_by_title ON videos (tenant, title_key(title) COLLATE title_order, id) WHERE deleted_at IS NULL;
-- ListVideos: one tenant's in a state that few videos have.
CREATE INDEX videos_by_state ON videos (tenant, state, created_at DESC, id DESC) WHERE deleted_at IS NULL;
-- Percentiles of the time to playable over the latest videos.
CREATE INDEX videos_playable ON videos (playable_at) WHERE playable_at IS NOT NULL;
-- Videos whose job an earlier release did not create when it recorded the probe.
CREATE INDEX videos_auto_transcode ON videos (id) WHERE auto_transcode AND state = 'uploaded';

ALTER TABLE uploads
    -- When all bytes of an announced length had arrived; NULL before.
    ADD COLUMN filled_at TIMESTAMPTZ;

ALTER TABLE jobs
    -- When the job was queued last: a retry queues it again. NULL means created_at.
    ADD COLUMN queued_at TIMESTAMPTZ;

-- ListJobs: one tenant's in a state that few jobs have. Also the places of its queued jobs.
CREATE INDEX jobs_by_state ON jobs (tenant, state, created_at DESC, id DESC) WHERE kind = 'transcode';

ALTER TABLE workers
    -- The version of the worker's program; empty in earlier releases.
    ADD COLUMN version TEXT NOT NULL DEFAULT '';
