-- A chunk goes only to workers that have its encoder.

ALTER TABLE tasks
    -- FFmpeg's name of the video encoder that the task needs; '' when it needs none.
    ADD COLUMN encoder TEXT NOT NULL DEFAULT '';
UPDATE tasks SET encoder = 'libx264' WHERE kind = 'chunk';

ALTER TABLE workers
    -- FFmpeg's names of the video encoders that it has; empty when it does not say.
    ADD COLUMN encoders TEXT[] NOT NULL DEFAULT '{}';
