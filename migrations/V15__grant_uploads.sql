-- Stores whom an upload lease was granted to, so that a transfer that began with a valid token can finish, and another
-- request can claim the lease.

ALTER TABLE uploads
    -- The writer that must release its lease because another request waits for it. Valid only while it equals
    -- `writer`.
    ADD COLUMN claimed_writer    UUID,
    -- The writer that the lease was last granted to; kept after the lease has ended, so that a call that is repeated
    -- after a lost reply is recognized.
    ADD COLUMN granted_writer    UUID,
    -- Subject and role of the bearer token that the lease was granted to.
    ADD COLUMN granted_subject   TEXT,
    ADD COLUMN granted_role      TEXT,
    -- Revocation ids of that token: revoking one of them ends the lease.
    ADD COLUMN granted_token_ids BYTEA[] NOT NULL DEFAULT '{}';
