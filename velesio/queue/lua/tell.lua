#!lua flags=allow-oom
-- Messages about ended jobs that are due, for one gateway to deliver. Each is due again when the time for its delivery
-- is over, so that another gateway tries if this one dies.
-- ARGV: now, how many at most, time for one delivery (ms)
-- Returns for each: {job, its fields}
local now, found = clock(ARGV[1]), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'tell', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local key = root .. 'hook:' .. id
  if redis.call('EXISTS', key) == 1 then
    redis.call('HINCRBY', key, 'tries', 1)
    redis.call('ZADD', root .. 'tell', now + ARGV[3], id)
    found[#found + 1] = {id, redis.call('HGETALL', key)}
  else
    redis.call('ZREM', root .. 'tell', id)
  end
end
return found
