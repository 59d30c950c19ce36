#!lua flags=allow-oom
-- Give a leased job back unharmed, to its old place. Fenced by owner and attempt.
-- ARGV: owner, id, attempt, now
-- Returns OK or STALE
local job = held(ARGV[1], ARGV[2], ARGV[3])
if not job then return 'STALE' end
local now = clock(ARGV[4])
if job.cancel == 'deadline' or job.dl <= now then
  expired(job, now)
elseif job.cancel then
  cancelled(job, job.cancel, now)
else
  redis.call('HSET', root .. 'j:' .. job.id, 'rel', job.rel + 1)
  remember(job, 'released', job.beg, now, '')
  leave(job)
  count('q', job.ten, 1)
  wait(job)
end
return 'OK'
