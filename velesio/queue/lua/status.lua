#!lua flags=no-writes
-- Depths and totals of all queues (at most 100).
-- ARGV: now
-- Returns {scheduled, dead, since when all are paused (ms, 0: they are not), then the depths of each queue}
local now = clock(ARGV[1])
return {
  redis.call('ZCARD', root .. 'sched'), redis.call('ZCARD', root .. 'dead'),
  tonumber(redis.call('HGET', root .. 'paused', '') or '0'), unpack(depths(now))
}
