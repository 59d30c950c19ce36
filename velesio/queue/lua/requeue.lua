#!lua
-- Queue a failed job again, with all its attempts before it. Idempotent: a live job is left alone.
-- ARGV: id, now, time to the deadline (ms)
-- Returns OK or NONE
local job, now = load(ARGV[1]), clock(ARGV[2])
local key = root .. 'j:' .. ARGV[1]
if not job or job.st ~= 'failed' or redis.call('HEXISTS', key, 'p') == 0 then return 'NONE' end
local shares = root .. 'vt:' .. job.queue
job.tag = redis.call('HGET', shares, job.prio) or job.tag
-- attempts go on counting, since they fence; all of them so far count as released
redis.call('HSET', key, 'crash', 0, 'rel', job.att, 'dl', now + ARGV[3], 'tag', job.tag, 'gw', '', 'end', 0)
redis.call('HDEL', key, 'r', 'cancel')
redis.call('PEXPIRE', key, ARGV[3] + 86400000)
redis.call('ZREM', root .. 'dead', job.id)
redis.call('LREM', root .. 'end:failed', 0, job.id)
redis.call('ZADD', root .. 'dl', now + ARGV[3], job.id)
keep(root .. 'dl')
redis.call('ZADD', root .. 'queues', now, job.queue)
keep(root .. 'queues')
count('q', job.ten, 1)
wait(job)
return 'OK'
