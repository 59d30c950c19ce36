#!lua flags=allow-oom
-- Lease nothing more from a queue until it goes on; what runs goes on, and what comes waits.
-- ARGV: queue, or '' for all of them; now; pause (1) or go on (0)
-- Returns 1 if it was otherwise before
local queue, key = ARGV[1], root .. 'paused'
if ARGV[3] == '1' then
  local new = redis.call('HSETNX', key, queue, clock(ARGV[2]))
  keep(key)
  return new
end
local was = redis.call('HDEL', key, queue)
local again = queue == '' and redis.call('ZREVRANGE', root .. 'queues', 0, 99) or {queue}
for _, each in ipairs(again) do
  for priority = 0, 2 do
    if not is_paused(each) and redis.call('EXISTS', waiting(each, priority)) == 1 then
      wake(each)
      break
    end
  end
end
return was
