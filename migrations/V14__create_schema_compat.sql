-- Lists which releases can work with this schema. A release starts on a schema that a later one has migrated, unless
-- the row with the highest version names a release later than its own.
CREATE TABLE schema_compat (
    -- The migration that earlier releases cannot work with. A migration that they can work with has no row.
    version INT PRIMARY KEY,
    -- The first release that can work with it, as major.minor.patch.
    min_release TEXT NOT NULL
        CHECK (min_release ~ '^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$')
);

-- 0.1.0 is the first release that reads this table.
INSERT INTO schema_compat (version, min_release) VALUES (14, '0.1.0');
