-- Playlists end with the last chunk and the audio; the job is completed later, with its images.

ALTER TABLE jobs
    -- When the last chunk of the last rendition was committed; NULL while a rendition is unfinished, and for jobs
    -- that an earlier release has completed.
    ADD COLUMN renditions_at TIMESTAMPTZ;
