#!lua flags=allow-oom
-- Give a job whose attempt failed another one, or end it. Fenced by owner and attempt.
-- ARGV: owner, id, attempt, now, delay factor (ms, doubled for each try), result, message to the listener
-- Returns RETRY, DEAD, CANCELLED or STALE
local job = held(ARGV[1], ARGV[2], ARGV[3])
if not job then return 'STALE' end
local now = clock(ARGV[4])
if job.cancel and job.cancel ~= 'deadline' then
  cancelled(job, job.cancel, now)
  return 'CANCELLED'
end
local tries = job.att - job.crash - job.rel
local at = now + math.min(S.retry_delay_max, tonumber(ARGV[5]) * 2 ^ (tries - 1))
if tries >= S.max_attempts or at >= job.dl then
  conclude(job, 'failed', ARGV[6], S.failed_ttl, now)
  bury(job, now)
  send(job, ARGV[7])
  return 'DEAD'
end
remember(job, 'retried', job.beg, now, why_failed(ARGV[6]))
leave(job)
count('q', job.ten, 1)
redis.call('HSET', root .. 'j:' .. job.id, 'st', 's', 'wrk', '', 'r', ARGV[6])
redis.call('ZADD', root .. 'sched', at, job.id)
keep(root .. 'sched')
return 'RETRY'
