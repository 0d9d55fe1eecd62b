-- Sources on their way into the store. The row is the truth of an upload: what is below `received` is
-- durable, and only the holder of the lease moves it, from where it stands.

CREATE TABLE uploads (
    id              UUID PRIMARY KEY,
    -- No foreign key: what is in the store of an upload is swept after its video is gone.
    video_id        UUID NOT NULL,
    tenant          TEXT NOT NULL,
    -- The store's URL, as on the video.
    store           TEXT NOT NULL,
    -- 'open' takes bytes; 'complete' has its source under its key; 'dead' waits for the sweep.
    state           TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'dead')),
    -- May be broken off and resumed until it expires; others end with their lease.
    resumable       BOOLEAN NOT NULL,
    -- The announced size; NULL when nobody said.
    length          BIGINT,
    -- Bytes that are durable.
    received        BIGINT NOT NULL DEFAULT 0,
    -- The state of SHA-256 after `received` bytes; the digest itself when received = length.
    digest          BYTEA NOT NULL DEFAULT '',
    -- Size of every part but the last, for stores that take parts.
    part_bytes      BIGINT NOT NULL,
    -- The store's name of the object in the making: remembered because listing them cannot be trusted.
    multipart_id    TEXT,
    -- The parts, in order, as the store names them.
    parts           TEXT[] NOT NULL DEFAULT '{}',
    -- Names the side object that holds the bytes after the last whole part.
    tail            BIGINT,
    -- The client's name of the file and its own words about it, as they came.
    filename        TEXT NOT NULL DEFAULT '',
    metadata        TEXT NOT NULL DEFAULT '',
    -- Who writes, and until when it need not be heard of.
    writer          UUID,
    writer_until    TIMESTAMPTZ,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Moves ahead with every byte that comes.
    expires_at      TIMESTAMPTZ NOT NULL,
    CHECK (received >= 0 AND (length IS NULL OR received <= length)),
    CHECK ((writer IS NULL) = (writer_until IS NULL))
);

-- A video has at most one source on its way.
CREATE UNIQUE INDEX uploads_one_open ON uploads (video_id) WHERE state = 'open';
-- The tenant's quota.
CREATE INDEX uploads_by_tenant ON uploads (tenant) WHERE state = 'open';
-- The sweep: what has expired, and what has all its bytes and nobody to say so.
CREATE INDEX uploads_expiring ON uploads (expires_at);
CREATE INDEX uploads_unfinished ON uploads (id) WHERE state = 'open' AND received = length;
CREATE INDEX uploads_dead ON uploads (writer_until) WHERE state = 'dead';
