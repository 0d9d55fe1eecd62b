-- Counts one request, or none, against a rate, like Rate::decide and Rate::state, by the clock of Redis, which all data planes share.
-- KEYS[1]: the client's theoretical arrival time. ARGV: interval, burst, both in microseconds; 1, or 0 to
-- count nothing.
-- Returns allowed, remaining, reset, retry; times in microseconds from now.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local arrival = tonumber(redis.call('GET', KEYS[1]) or now) or now
arrival = math.min(math.max(arrival, now), now + burst)
if tonumber(ARGV[3]) == 0 then
  local reset = arrival - now
  return {1, math.floor((burst - reset) / interval), reset, 0}
end
local following = arrival + interval
local excess = following - burst - now
if excess > 0 then
  return {0, 0, arrival - now, excess}
end
local reset = following - now
redis.call('SET', KEYS[1], string.format('%.0f', following), 'PX', math.ceil(reset / 1000))
return {1, math.floor((burst - reset) / interval), reset, 0}
