-- Which releases can work on this schema. A release starts on a schema that a later one has migrated, unless
-- the row of the highest version names a later release than its own.
CREATE TABLE schema_compat (
    -- The migration that earlier releases cannot work with. A migration that they can work with has no row.
    version INT PRIMARY KEY,
    -- The first release that can, as major.minor.patch.
    min_release TEXT NOT NULL
        CHECK (min_release ~ '^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$')
);

-- Every release that looks into this table.
INSERT INTO schema_compat (version, min_release) VALUES (14, '0.1.0');
