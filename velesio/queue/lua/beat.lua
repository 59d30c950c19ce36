#!lua flags=allow-oom
-- Renew a worker and its leases.
-- ARGV: owner, now, cards, info, announce (1|0), then for each lease: id, attempt
-- Returns {lost, aborts, quiet}: ids whose lease is gone; id, reason pairs of jobs to abort; 1 to take nothing
local owner, now = ARGV[1], clock(ARGV[2])
local key = root .. 'wk:' .. owner
redis.call('HSET', key, 'cards', ARGV[3], 'info', ARGV[4], 'beat', now)
redis.call('PEXPIRE', key, S.worker_ttl)
redis.call('ZADD', root .. 'wks', now, owner)
keep(root .. 'wks')
if ARGV[5] == '1' then redis.call('PUBLISH', root .. 'ctl', 'worker ' .. owner) end

local gone, ordered = {}, {}
for index = 6, #ARGV, 2 do
  local job = held(owner, ARGV[index], ARGV[index + 1])
  -- the record says who owns the lease; the pending list may have been lost with the broker's memory
  local renewed = job and redis.pcall('XCLAIM', flight(job.queue), 'w', owner, 0, job.ent, 'JUSTID')
  if not renewed or renewed.err or #renewed == 0 then
    gone[#gone + 1] = ARGV[index]
  else
    keep(flight(job.queue))
    if job.cancel then
      ordered[#ordered + 1] = job.id
      ordered[#ordered + 1] = job.cancel
    end
  end
end
return {gone, ordered, redis.call('EXISTS', root .. 'quiet:' .. owner)}
