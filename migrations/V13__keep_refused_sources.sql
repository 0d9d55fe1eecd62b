-- Results of probes (invalid bytes, host failures), and how long rejected sources are kept.

ALTER TABLE tasks
    -- Names of workers that reported the source's bytes as invalid; a second worker's agreement makes it final.
    ADD COLUMN findings TEXT[] NOT NULL DEFAULT '{}',
    -- Names of healthy workers on which a probe ended without a result about the bytes.
    ADD COLUMN faulted_on TEXT[] NOT NULL DEFAULT '{}';

ALTER TABLE workers
    -- False while the worker fails to probe its built-in sample; it then gets no probes.
    ADD COLUMN can_probe BOOLEAN NOT NULL DEFAULT true,
    -- Why the worker cannot probe; empty when it can.
    ADD COLUMN probe_trouble TEXT NOT NULL DEFAULT '',
    -- What the worker's process calls itself, at random: two workers of one name are not one worker.
    ADD COLUMN instance TEXT NOT NULL DEFAULT '';

ALTER TABLE videos
    -- When the video's source was rejected; NULL when it was not rejected or is not kept.
    ADD COLUMN refused_at TIMESTAMPTZ;

-- For a tenant's kept rejected sources, oldest first, and for the sweep of those whose time is over.
CREATE INDEX videos_refused ON videos (tenant, refused_at) WHERE refused_at IS NOT NULL;
CREATE INDEX videos_refused_by_age ON videos (refused_at) WHERE refused_at IS NOT NULL;
-- For probes that wait for another attempt, by age.
CREATE INDEX tasks_probes ON tasks (created_at) WHERE kind = 'probe' AND state = 'ready';
