-- Stores a reply unless the video has changed since the lookup.
-- KEYS: hash, generation, epoch. ARGV: field, generation, epoch or '', seconds, reply.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then return 0 end
local field = ARGV[1]
if ARGV[3] ~= '' then
  if (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then return 0 end
  field = ARGV[3] .. ':' .. field
  -- Entries of other epochs will not be looked up again.
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], field, ARGV[5])
-- The first reply sets the expiry, so that no reply is stored for longer.
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
