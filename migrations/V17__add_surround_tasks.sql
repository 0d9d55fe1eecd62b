-- Surround renditions: tasks that encode or copy an audio track in surround. Their outputs are rows of `outputs`, as
-- 'surround-0'.
ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind_check
    CHECK (kind IN ('probe', 'chunk', 'audio', 'surround', 'subtitles', 'thumbnails', 'preview', 'collect'));

-- Earlier releases cannot read rows of this kind.
INSERT INTO schema_compat (version, min_release) VALUES (17, '0.1.0');
