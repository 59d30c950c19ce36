#!lua flags=allow-oom
-- The holder of a background job begins it anew because it cannot go on with what its log says. Fenced by owner and
-- attempt; repeating it does no harm.
-- ARGV: owner, id, attempt
-- Returns OK or STALE
local job = held(ARGV[1], ARGV[2], ARGV[3])
if not job then return 'STALE' end
redis.call('HSET', root .. 'j:' .. job.id, 'life', job.att - 1)
begin_log(job.id, job.att - 1, S.result_ttl)
return 'OK'
