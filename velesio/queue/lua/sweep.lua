#!lua flags=allow-oom
-- Housekeeping, at most once in S.sweep whoever asks: due jobs, lost leases, deadlines, dead workers, idle shares.
-- ARGV: now, force (1|0)
-- Returns how many things it did
local now, done = clock(ARGV[1]), 0
if not redis.call('SET', root .. 'sweep', '1', 'NX', 'PX', S.sweep) and ARGV[2] ~= '1' then return 0 end

promote(now)
keep(root .. 'paused')
local due = redis.call('ZRANGEBYSCORE', root .. 'dl', '-inf', now, 'LIMIT', 0, 100)
for _, id in ipairs(due) do
  local job = load(id)
  if job and job.st == 'r' then
    if not job.cancel then abort(job, 'deadline') end
    redis.call('ZADD', root .. 'dl', now + S.lease, id) -- look again when its worker must have answered or died
  elseif job and (job.st == 'q' or job.st == 's') then
    expired(job, now)
  else
    redis.call('ZREM', root .. 'dl', id)
  end
end
done = done + #due

local silent = redis.call('ZRANGEBYSCORE', root .. 'wks', '-inf', now - S.worker_ttl, 'LIMIT', 0, 100)
for _, owner in ipairs(silent) do
  redis.call('ZREM', root .. 'wks', owner)
  redis.call('PUBLISH', root .. 'ctl', 'gone ' .. owner)
end
done = done + #silent

local function forget_consumers(queue)
  -- a consumer without leases whose worker is gone; deleting one with leases would lose them
  local consumers = redis.pcall('XINFO', 'CONSUMERS', flight(queue), 'w')
  if consumers.err then return end
  local first = math.floor(now / S.sweep) * 97 % math.max(1, #consumers) -- in turn, however many of them live
  for step = 0, math.min(#consumers, 100) - 1 do
    local consumer, facts = consumers[(first + step) % #consumers + 1], {}
    for field = 1, #consumer, 2 do facts[consumer[field]] = consumer[field + 1] end
    if facts.pending == 0 and not redis.call('ZSCORE', root .. 'wks', facts.name) then
      redis.call('XGROUP', 'DELCONSUMER', flight(queue), 'w', facts.name)
    end
  end
end

local function forget_shares(queue)
  -- a tenant whose last job started in the past has no claim left
  local shares = root .. 'vt:' .. queue
  local cursor = redis.call('HGET', shares, 'sweep') or '0'
  local found = redis.call('HSCAN', shares, cursor, 'COUNT', 50)
  local virtual = redis.call('HMGET', shares, '0', '1', '2')
  for index = 1, #found[2], 2 do
    local priority = found[2][index]:match('^([012]):')
    local now_at = priority and tonumber(virtual[priority + 1] or nil)
    if now_at and tonumber(found[2][index + 1]) <= now_at then redis.call('HDEL', shares, found[2][index]) end
  end
  if found[1] ~= cursor then redis.call('HSET', shares, 'sweep', found[1]) end
end

for _, queue in ipairs(redis.call('ZRANGE', root .. 'queues', 0, 99)) do
  for _ = 1, 10 do
    local some = reclaim(queue, now)
    done = done + some
    if some == 0 then break end
  end
  forget_consumers(queue)
  if redis.call('EXISTS', root .. 'vt:' .. queue) == 1 then forget_shares(queue) end
end
redis.call('ZREMRANGEBYSCORE', root .. 'queues', '-inf', now - KEEP)
return done
