-- Verdicts of probes: findings about the bytes, faults of hosts, and how long refused sources are kept.

ALTER TABLE tasks
    -- Names of workers that made a finding about the source's bytes; a second one's agreement makes it final.
    ADD COLUMN findings TEXT[] NOT NULL DEFAULT '{}',
    -- Names of healthy workers on which a probe ended without a finding.
    ADD COLUMN faulted_on TEXT[] NOT NULL DEFAULT '{}';

ALTER TABLE workers
    -- False while the worker fails to probe its own sample: it gets no probes.
    ADD COLUMN can_probe BOOLEAN NOT NULL DEFAULT true,
    -- Why not.
    ADD COLUMN probe_trouble TEXT NOT NULL DEFAULT '';

ALTER TABLE videos
    -- Since when the video's refused source is kept; NULL when its source was not refused or is not kept.
    ADD COLUMN refused_at TIMESTAMPTZ;

-- A tenant's kept refused sources, oldest first, and the sweep of those that have been kept long enough.
CREATE INDEX videos_refused ON videos (tenant, refused_at) WHERE refused_at IS NOT NULL;
CREATE INDEX videos_refused_by_age ON videos (refused_at) WHERE refused_at IS NOT NULL;
-- Probes that are waiting for another try, by age.
CREATE INDEX tasks_probes ON tasks (created_at) WHERE kind = 'probe' AND state = 'ready';
