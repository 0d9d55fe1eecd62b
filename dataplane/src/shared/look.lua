-- Looks for a kept reply, and reads what must still hold when another one is kept in its place.
-- KEYS: hash, generation, epoch. ARGV: field, 1 when the reply is good within one epoch only.
local generation = redis.call('GET', KEYS[2]) or ''
local epoch, field = '', ARGV[1]
if ARGV[2] == '1' then
  epoch = redis.call('GET', KEYS[3]) or ''
  if epoch == '' then return {generation, '', false} end
  field = epoch .. ':' .. field
end
return {generation, epoch, redis.call('HGET', KEYS[1], field)}
