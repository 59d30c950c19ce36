#!lua flags=no-writes
-- Depths and totals of all queues (at most 100).
-- ARGV: now
-- Returns {scheduled, dead, then for each queue: name, waiting 0, 1, 2, running, oldest (ms), done, failed, cancelled}
local now = clock(ARGV[1])
local answer = {redis.call('ZCARD', root .. 'sched'), redis.call('ZCARD', root .. 'dead')}
for _, queue in ipairs(redis.call('ZREVRANGE', root .. 'queues', 0, 99)) do
  local line, oldest = {queue}, 0
  for priority = 0, 2 do
    local set = waiting(queue, priority)
    line[#line + 1] = redis.call('ZCARD', set)
    local head = redis.call('ZRANGE', set, 0, 0)[1]
    local since = head and redis.call('HGET', root .. 'j:' .. head, 'enq')
    if since then oldest = math.max(oldest, now - since) end
  end
  line[#line + 1] = redis.call('XLEN', flight(queue))
  line[#line + 1] = oldest
  for _, total in ipairs(redis.call('HMGET', root .. 'n:' .. queue, 'done', 'failed', 'cancelled')) do
    line[#line + 1] = tonumber(total or '0')
  end
  answer[#answer + 1] = line
end
return answer
