-- Looks up a stored reply, and reads the generation and the epoch that must be unchanged when a new reply is
-- stored in its place.
-- KEYS: hash, generation, epoch. ARGV: field, 1 when the reply is valid within one epoch only.
local generation = redis.call('GET', KEYS[2]) or ''
local epoch, field = '', ARGV[1]
if ARGV[2] == '1' then
  epoch = redis.call('GET', KEYS[3]) or ''
  if epoch == '' then return {generation, '', false} end
  field = epoch .. ':' .. field
end
return {generation, epoch, redis.call('HGET', KEYS[1], field)}
