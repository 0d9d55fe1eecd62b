-- Keeps a reply unless the video has changed since it was looked for.
-- KEYS: hash, generation, epoch. ARGV: field, generation, epoch or '', seconds, reply.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then return 0 end
local field = ARGV[1]
if ARGV[3] ~= '' then
  if (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then return 0 end
  field = ARGV[3] .. ':' .. field
  -- Nobody will look for what is of another epoch.
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], field, ARGV[5])
-- The first reply sets the clock, so that none of them is kept for longer.
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
