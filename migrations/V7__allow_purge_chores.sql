-- 'purge': tell the CDN to forget a video, by the tag that its replies carry.
ALTER TABLE chores DROP CONSTRAINT chores_kind_check;
ALTER TABLE chores ADD CONSTRAINT chores_kind_check
    CHECK (kind IN ('video', 'job', 'index', 'purge'));
