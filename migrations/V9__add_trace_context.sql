-- The W3C trace context of the call that queued the job: what workers and control do for it joins that
-- call's trace. NULL while nobody collects traces.
ALTER TABLE jobs ADD COLUMN traceparent TEXT CHECK (length(traceparent) <= 64);
