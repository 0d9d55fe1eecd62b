-- Events of the places of queued jobs: of the tenant whose job has left the queue, and only of the jobs behind it.

-- Places in the queue, in the order in which jobs entered it; the jobs behind one that leaves.
CREATE INDEX jobs_in_queue ON jobs (tenant, COALESCE(queued_at, created_at), id)
    WHERE kind = 'transcode' AND state = 'queued';

-- When a job leaves the queue, those behind it move up. At most 1000 of a tenant are recorded, so that a lease, which is
-- what makes a job leave, takes milliseconds in any queue.
CREATE OR REPLACE FUNCTION record_queue_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_changes (kind, object_id, tenant)
    SELECT 'job', behind.id, departed.tenant
    FROM (
        SELECT DISTINCT ON (o.tenant) o.tenant, COALESCE(o.queued_at, o.created_at) AS entered, o.id
        FROM new_rows n
        JOIN old_rows o ON o.id = n.id
        WHERE o.state = 'queued' AND n.state <> 'queued' AND n.kind = 'transcode'
        ORDER BY o.tenant, entered, o.id
    ) AS departed
    CROSS JOIN LATERAL (
        SELECT j.id
        FROM jobs j
        WHERE j.tenant = departed.tenant
          AND j.kind = 'transcode'
          AND j.state = 'queued'
          AND (COALESCE(j.queued_at, j.created_at), j.id) > (departed.entered, departed.id)
        ORDER BY COALESCE(j.queued_at, j.created_at), j.id
        LIMIT 1000
    ) AS behind;
    RETURN NULL;
END $$;
