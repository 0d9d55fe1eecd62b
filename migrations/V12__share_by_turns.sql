-- Tenants share each priority turn by turn.

ALTER TABLE tasks
    -- Whose turn it is among the ready tasks of one priority: lower first. Given when the task becomes
    -- ready (control/src/db/turns.rs) and kept by one that comes back for another attempt.
    ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;

UPDATE tasks t
SET turn = waiting.turn
FROM (
    SELECT id,
           row_number() OVER (PARTITION BY tenant, priority, encoder ORDER BY created_at, id) AS turn
    FROM tasks
    WHERE state = 'ready'
) AS waiting
WHERE t.id = waiting.id;

-- Claim: highest priority, then the tenants' turns, then oldest.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (priority DESC, turn, created_at, id) WHERE state = 'ready';
-- The turn that is being served; what came back from a first attempt does not say so.
CREATE INDEX tasks_served ON tasks (priority, encoder, turn) WHERE state = 'ready' AND attempt = 0;
-- The last turn that a tenant has taken.
CREATE INDEX tasks_taken ON tasks (tenant, priority, encoder, turn) WHERE state = 'ready';
-- Control's own claims, which would otherwise read past everything that waits for workers.
CREATE INDEX tasks_collect ON tasks (turn) WHERE state = 'ready' AND kind = 'collect';
