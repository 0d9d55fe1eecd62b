-- Videos, jobs, leased tasks and the committed outputs. Times are the database's clock throughout.

CREATE TYPE video_state AS ENUM ('uploading', 'probing', 'uploaded', 'processing', 'ready', 'failed');
CREATE TYPE job_state AS ENUM ('queued', 'running', 'completed', 'failed', 'cancelled');
CREATE TYPE task_state AS ENUM ('blocked', 'ready', 'leased', 'done', 'failed', 'cancelled');

CREATE TABLE videos (
    id              UUID PRIMARY KEY,
    -- Whose it is; another tenant's id answers as an unknown one.
    tenant          TEXT NOT NULL,
    -- The subject of the token that created it.
    owner           TEXT NOT NULL,
    title           TEXT NOT NULL DEFAULT '',
    description     TEXT NOT NULL DEFAULT '',
    state           video_state NOT NULL,
    public          BOOLEAN NOT NULL,
    -- The store's URL, chosen once by rendezvous hashing of the id and never changed.
    store           TEXT NOT NULL,
    source_bytes    BIGINT,
    source_sha256   BYTEA,
    -- The client's name of the file: a hint for people, never a path.
    filename        TEXT NOT NULL DEFAULT '',
    -- media::source::Source as JSON; NULL until probed.
    source          JSONB,
    -- The job whose renditions are served; NULL while there is nothing to play.
    served_job      UUID,
    -- The first moment something was playable of served_job.
    published_at    TIMESTAMPTZ,
    error_code      TEXT,
    error_message   TEXT,
    -- Counts every change that the index or a viewer can see; also the row that commits, cancels and
    -- deletions of one video queue up at.
    revision        BIGINT NOT NULL DEFAULT 1,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- A tombstone: nothing may be committed for the video any more; the sweep removes its objects.
    deleted_at      TIMESTAMPTZ
);

-- ListVideos: one tenant's, newest first.
CREATE INDEX videos_by_tenant ON videos (tenant, created_at DESC, id DESC) WHERE deleted_at IS NULL;
-- The sweeper: uploads that never finished, and tombstones.
CREATE INDEX videos_uploading ON videos (created_at) WHERE state = 'uploading';
CREATE INDEX videos_deleted ON videos (deleted_at) WHERE deleted_at IS NOT NULL;
-- Without Redis, what other instances changed is found by polling.
CREATE INDEX videos_changed ON videos (updated_at);

CREATE TABLE jobs (
    id              UUID PRIMARY KEY,
    video_id        UUID NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    tenant          TEXT NOT NULL,
    -- 'probe' jobs are internal and hold one task; 'transcode' jobs are what people ask for.
    kind            TEXT NOT NULL CHECK (kind IN ('probe', 'transcode')),
    state           job_state NOT NULL DEFAULT 'queued',
    -- control's plan (grid, rungs, audio tracks, preset) as JSON; '{}' for a probe.
    plan            JSONB NOT NULL DEFAULT '{}',
    error_code      TEXT,
    error_message   TEXT,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at      TIMESTAMPTZ,
    finished_at     TIMESTAMPTZ
);

-- ListJobs: one tenant's, newest first.
CREATE INDEX jobs_by_tenant ON jobs (tenant, created_at DESC, id DESC) WHERE kind = 'transcode';
-- The latest job of a video, and all jobs of one.
CREATE INDEX jobs_by_video ON jobs (video_id, created_at DESC, id DESC);
-- At most one unfinished transcode per video.
CREATE UNIQUE INDEX jobs_one_active ON jobs (video_id)
    WHERE kind = 'transcode' AND state IN ('queued', 'running');

-- Fencing tokens: strictly rising over all leases, so a stale holder always carries a smaller one.
CREATE SEQUENCE lease_tokens;

CREATE TABLE tasks (
    id              UUID PRIMARY KEY,
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    video_id        UUID NOT NULL,
    tenant          TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('probe', 'chunk', 'audio', 'collect')),
    -- The chunk's or the audio track's number.
    ordinal         INTEGER NOT NULL,
    -- The rungs a chunk task encodes.
    rungs           TEXT[] NOT NULL DEFAULT '{}',
    state           task_state NOT NULL,
    -- Higher first.
    priority        INTEGER NOT NULL,
    -- Share of the job's work, for progress.
    weight          DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- Leases so far; a released lease gives its attempt back.
    attempt         INTEGER NOT NULL DEFAULT 0,
    attempts_max    INTEGER NOT NULL,
    -- Backoff: not before this moment.
    run_after       TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- The present lease; all NULL unless state is 'leased'.
    token           BIGINT,
    worker_id       UUID,
    lease_expires   TIMESTAMPTZ,
    -- The token of the lease that finished it: a commit repeated after a lost reply is known by it.
    done_token      BIGINT,
    -- The name of the worker that holds or last held the lease.
    worker          TEXT NOT NULL DEFAULT '',
    -- Names of the workers on which an attempt failed; others are preferred.
    failed_on       TEXT[] NOT NULL DEFAULT '{}',
    -- 0 to 1.
    fraction        DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- Seconds of film per second.
    speed           DOUBLE PRECISION NOT NULL DEFAULT 0,
    error_code      TEXT,
    error_message   TEXT,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at      TIMESTAMPTZ,
    finished_at     TIMESTAMPTZ,
    UNIQUE (job_id, kind, ordinal, rungs),
    CHECK ((state = 'leased') = (token IS NOT NULL))
);

-- Claim: highest priority, then oldest.
CREATE INDEX tasks_ready ON tasks (priority DESC, created_at, id) WHERE state = 'ready';
-- Reap: leases that ran out.
CREATE INDEX tasks_leased ON tasks (lease_expires) WHERE state = 'leased';

-- Exactly one committed object per chunk of a rendition; losers' objects are swept.
CREATE TABLE outputs (
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- '360p', 'audio-0'.
    rendition       TEXT NOT NULL,
    chunk           INTEGER NOT NULL,
    object_key      TEXT NOT NULL,
    bytes           BIGINT NOT NULL,
    sha256          BYTEA NOT NULL,
    -- postcard of Vec<media::index::Fragment>.
    fragments       BYTEA NOT NULL,
    -- The fencing token of the lease that committed it.
    token           BIGINT NOT NULL,
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, rendition, chunk)
);

-- The init segment of a rendition: fixed by its first commit, equal in every later one.
CREATE TABLE inits (
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    rendition       TEXT NOT NULL,
    init            BYTEA NOT NULL,
    PRIMARY KEY (job_id, rendition)
);

-- Work on the store that follows from a committed change and must outlive the process that made it.
CREATE TABLE chores (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'video': delete everything of a deleted video, then its row. 'job': delete what an ended job wrote
    -- and no committed output names. 'index': make the index object say what the row says.
    kind            TEXT NOT NULL CHECK (kind IN ('video', 'job', 'index')),
    store           TEXT NOT NULL,
    -- No foreign keys: a chore outlives what it is about.
    video_id        UUID NOT NULL,
    job_id          UUID,
    -- Not before this moment: leases that may still write have run out by then. Taking a chore moves it
    -- ahead, so that another instance repeats it when this one dies.
    run_after       TIMESTAMPTZ NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,
    CHECK ((kind = 'job') = (job_id IS NOT NULL))
);
CREATE INDEX chores_due ON chores (run_after);

CREATE TABLE workers (
    -- One connection of a worker.
    id              UUID PRIMARY KEY,
    name            TEXT NOT NULL,
    slots           INTEGER NOT NULL,
    draining        BOOLEAN NOT NULL DEFAULT false,
    connected       BOOLEAN NOT NULL DEFAULT true,
    -- By the session that serves the connection, every few seconds.
    seen_at         TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Who could take a task that failed elsewhere.
CREATE INDEX workers_connected ON workers (seen_at) WHERE connected;

CREATE TABLE revocations (
    -- A biscuit's revocation id, raw.
    revocation_id   BYTEA PRIMARY KEY,
    revoked_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When the token would have ended anyway; the row may go then.
    expires_at      TIMESTAMPTZ
);
-- What other instances revoked is found by polling.
CREATE INDEX revocations_by_time ON revocations (revoked_at);
