#!lua
-- A turn of a session is over: keep it, within the bounds. The oldest turns go first, and of too many sessions the one
-- that was not used for longest.
-- ARGV: owner, name, now, turn, time to live (ms), bytes at most, turns at most, sessions of the owner at most
-- Returns how many turns there are
local index = root .. 'ss:' .. ARGV[1]
local key, now, ttl, bytes = index .. ':' .. ARGV[2], clock(ARGV[3]), tonumber(ARGV[5]), 0
if #ARGV[4] > tonumber(ARGV[6]) then return redis.call('LLEN', key) end
redis.call('RPUSH', key, ARGV[4])
redis.call('LTRIM', key, -ARGV[7], -1)
local turns = redis.call('LRANGE', key, 0, -1)
for _, turn in ipairs(turns) do bytes = bytes + #turn end
local first = 1
while bytes > tonumber(ARGV[6]) do
  redis.call('LPOP', key)
  bytes, first = bytes - #turns[first], first + 1
end
redis.call('PEXPIRE', key, ttl)
redis.call('ZADD', index, now, ARGV[2])
redis.call('PEXPIRE', index, ttl)
redis.call('ZREMRANGEBYSCORE', index, '-inf', now - ttl)
for _, name in ipairs(redis.call('ZRANGE', index, 0, -ARGV[8] - 1)) do
  redis.call('DEL', index .. ':' .. name)
  redis.call('ZREM', index, name)
end
return #turns - first + 1
