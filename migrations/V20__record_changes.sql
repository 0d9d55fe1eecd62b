-- Records which videos, jobs, tasks and workers change, for the streams of events (control/src/db/changes.rs).
--
-- A transaction appends the objects that it changes to `pending_changes`, without contention. Later, one reader at a
-- time numbers the rows of committed transactions: the order of numbers is the order in which changes became visible,
-- also for transactions that commit late, so that a single number identifies the changes that a client has received.

-- In the order in which the events of one moment are sent.
CREATE TYPE change_kind AS ENUM ('video', 'job', 'task', 'worker');

CREATE TABLE pending_changes (
    kind            change_kind NOT NULL,
    -- The id of the object. No foreign key: a change outlives its object.
    object_id       UUID NOT NULL,
    -- The tenant that owns it; workers belong to the operator's tenant.
    tenant          TEXT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_threshold = 100000);

-- The latest change of each object that has changed in the last 10 minutes.
CREATE TABLE changes (
    kind            change_kind NOT NULL,
    object_id       UUID NOT NULL,
    tenant          TEXT NOT NULL,
    -- Rises with every change.
    number          BIGINT NOT NULL,
    -- When the change was numbered.
    changed_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (kind, object_id)
);
-- Changes after a number.
CREATE UNIQUE INDEX changes_by_number ON changes (number);
-- The sweep of old changes.
CREATE INDEX changes_by_time ON changes (changed_at);

-- One row. Transactions that number or delete changes lock this table.
CREATE TABLE change_log (
    only_row        BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Part of every event's id, so that an id of another database is recognized.
    epoch           UUID NOT NULL DEFAULT gen_random_uuid(),
    -- The highest number that was given.
    last_number     BIGINT NOT NULL DEFAULT 0,
    -- The highest number that was deleted: the changes after an earlier one are incomplete.
    pruned_number   BIGINT NOT NULL DEFAULT 0
);
INSERT INTO change_log DEFAULT VALUES;

CREATE FUNCTION record_video_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_changes (kind, object_id, tenant)
    SELECT 'video', id, tenant FROM new_rows;
    RETURN NULL;
END $$;

CREATE TRIGGER record_inserts AFTER INSERT ON videos
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_video_changes();
CREATE TRIGGER record_updates AFTER UPDATE ON videos
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_video_changes();

CREATE FUNCTION record_job_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_changes (kind, object_id, tenant)
    SELECT 'job', id, tenant FROM new_rows WHERE kind = 'transcode';
    RETURN NULL;
END $$;

CREATE TRIGGER record_inserts AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_job_changes();
CREATE TRIGGER record_updates AFTER UPDATE ON jobs
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_job_changes();

-- When a job leaves the queue, the first of those behind it move up.
CREATE FUNCTION record_queue_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE o.state = 'queued' AND n.state <> 'queued' AND n.kind = 'transcode'
    ) THEN
        INSERT INTO pending_changes (kind, object_id, tenant)
        SELECT 'job', id, tenant
        FROM jobs
        WHERE kind = 'transcode' AND state = 'queued'
        ORDER BY created_at
        LIMIT 100;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER record_queue AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_queue_changes();

-- The tasks that a job begins with are part of the new job: now() is the start of the transaction, so their job was
-- created by the same one.
CREATE FUNCTION record_new_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_changes (kind, object_id, tenant)
    SELECT 'task', t.id, t.tenant
    FROM new_rows t
    JOIN jobs j ON j.id = t.job_id AND j.created_at <> now()
    WHERE t.kind <> 'probe';
    RETURN NULL;
END $$;

CREATE TRIGGER record_inserts AFTER INSERT ON tasks
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_new_tasks();

-- A task that changes also changes the progress of its job, and a lease that begins or ends the load of its worker.
CREATE FUNCTION record_task_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH changed AS MATERIALIZED (
        SELECT n.id, n.job_id, n.tenant, n.kind, n.worker_id AS worker, o.worker_id AS worker_before
        FROM new_rows n
        JOIN old_rows o ON o.id = n.id
        WHERE (n.state, n.attempt, n.worker, n.worker_id, n.fraction, n.speed, n.error_code, n.error_message, n.rungs)
              IS DISTINCT FROM
              (o.state, o.attempt, o.worker, o.worker_id, o.fraction, o.speed, o.error_code, o.error_message, o.rungs)
    )
    INSERT INTO pending_changes (kind, object_id, tenant)
    SELECT 'task'::change_kind, id, tenant FROM changed WHERE kind <> 'probe'
    UNION ALL
    SELECT DISTINCT 'job'::change_kind, job_id, tenant FROM changed WHERE kind <> 'probe'
    UNION ALL
    SELECT DISTINCT 'worker'::change_kind, w.id, 'default'
    FROM changed c
    CROSS JOIN LATERAL unnest(ARRAY[c.worker, c.worker_before]) AS w (id)
    WHERE w.id IS NOT NULL AND c.worker IS DISTINCT FROM c.worker_before;
    RETURN NULL;
END $$;

CREATE TRIGGER record_updates AFTER UPDATE ON tasks
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_task_changes();

-- The time at which a worker was last seen is recorded every ten seconds only.
CREATE FUNCTION record_worker_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_changes (kind, object_id, tenant)
    VALUES ('worker', NEW.id, 'default');
    RETURN NULL;
END $$;

CREATE TRIGGER record_inserts AFTER INSERT ON workers
    FOR EACH ROW EXECUTE FUNCTION record_worker_changes();
CREATE TRIGGER record_updates AFTER UPDATE ON workers
    FOR EACH ROW
    WHEN ((to_jsonb(NEW) - 'seen_at') <> (to_jsonb(OLD) - 'seen_at')
          OR floor(extract(epoch FROM NEW.seen_at) / 10) <> floor(extract(epoch FROM OLD.seen_at) / 10))
    EXECUTE FUNCTION record_worker_changes();
