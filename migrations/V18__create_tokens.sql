-- Records of bearer tokens, and one-time codes with which browsers sign in. Neither table contains a token or a code.

CREATE TABLE tokens (
    -- Derived from `revocation_id`, so that a token that was minted with the key file has the same id on every instance.
    id            UUID        PRIMARY KEY,
    -- The id of the token's first block; revoking it revokes the token.
    revocation_id BYTEA       NOT NULL UNIQUE,
    tenant        TEXT        NOT NULL,
    subject       TEXT        NOT NULL,
    role          TEXT        NOT NULL,
    -- When it was minted; for a token that was minted with the key file, when its first use was stored.
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at    TIMESTAMPTZ NOT NULL,
    -- The latest day in UTC on which it was used.
    last_used_day DATE
);

-- Pages of a tenant's list, newest first.
CREATE INDEX tokens_list ON tokens (tenant, created_at DESC, id DESC);
-- Deletion of records of expired tokens.
CREATE INDEX tokens_expired ON tokens (expires_at);

CREATE TABLE sign_in_codes (
    -- BLAKE3 of the code.
    code_hash             BYTEA       PRIMARY KEY,
    -- The credential of the admin who created the code, without its token: what the session is made from.
    tenant                TEXT        NOT NULL,
    subject               TEXT        NOT NULL,
    role                  TEXT        NOT NULL,
    credential_expires_at TIMESTAMPTZ NOT NULL,
    -- Revoking one of them makes the code invalid, and ends the session.
    revocation_ids        BYTEA[]     NOT NULL,
    -- The checks with which the credential was narrowed, as Datalog, one text per block.
    checks                TEXT[]      NOT NULL,
    -- The root key that signed the credential and signs the session; null for a JWT.
    root_key              BIGINT,
    expires_at            TIMESTAMPTZ NOT NULL,
    used_at               TIMESTAMPTZ
);
