-- A lease is the right to write one upload: whom it was granted to is remembered with it, so that a transfer
-- that began with a good token finishes, and another request may claim it.

ALTER TABLE uploads
    -- The writer that must release its lease because another request waits for it. It counts only while it is
    -- equal to `writer`.
    ADD COLUMN claimed_writer    UUID,
    -- The writer that the lease was granted to last; kept after the lease has ended, so that a repeated call
    -- after a lost reply is known.
    ADD COLUMN granted_writer    UUID,
    -- Whose bearer token the lease was granted to.
    ADD COLUMN granted_subject   TEXT,
    ADD COLUMN granted_role      TEXT,
    -- Revocation ids of that token: revoking one of them ends the lease.
    ADD COLUMN granted_token_ids BYTEA[] NOT NULL DEFAULT '{}';
