#!lua flags=allow-oom
-- Renew a worker and its leases.
-- ARGV: owner, now, cards, info, announce (1|0), then for each lease: id, attempt, ms from its begin to its first output or ''
-- Returns {lost, aborts, order, wishes}: ids whose lease is gone; id, reason pairs of jobs to abort; '' or an order to
-- the worker; what it shall do about its models
local owner, now = ARGV[1], clock(ARGV[2])
local key = root .. 'wk:' .. owner
redis.call('HSET', key, 'cards', ARGV[3], 'info', ARGV[4], 'beat', now)
redis.call('PEXPIRE', key, S.worker_ttl)
redis.call('ZADD', root .. 'wks', now, owner)
keep(root .. 'wks')
if ARGV[5] == '1' then redis.call('PUBLISH', root .. 'ctl', 'worker ' .. owner) end

local function forgive(id, attempt)
  -- the owner was cut off and lives, so the job did not kill it: its crash becomes a lease given back, once
  local record = root .. 'j:' .. id
  local f = redis.call('HMGET', record, 'lost', 'crash', 'st')
  if f[1] == attempt and tonumber(f[2]) > 0 and (f[3] == 'q' or f[3] == 's' or f[3] == 'r') then
    redis.call('HINCRBY', record, 'crash', -1)
    redis.call('HINCRBY', record, 'rel', 1)
    redis.call('HDEL', record, 'lost')
  end
end

local gone, ordered = {}, {}
for index = 6, #ARGV, 3 do
  local job = held(owner, ARGV[index], ARGV[index + 1])
  -- the record says who owns the lease, and the stream that there is one; the group may have been lost
  if not job or #redis.call('XRANGE', flight(job.queue), job.ent, job.ent) == 0 then
    gone[#gone + 1] = ARGV[index]
    forgive(ARGV[index], ARGV[index + 1])
  else
    claim(job.queue, owner, job.ent)
    keep(flight(job.queue))
    if ARGV[index + 2] ~= '' then redis.call('HSET', root .. 'j:' .. job.id, 'tok', job.beg + ARGV[index + 2]) end
    if job.cancel then
      ordered[#ordered + 1] = job.id
      ordered[#ordered + 1] = job.cancel
    end
  end
end
return {
  gone, ordered, redis.call('GET', root .. 'quiet:' .. owner) or '', redis.call('HVALS', root .. 'wish:' .. owner)
}
