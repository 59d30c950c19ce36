#!lua flags=no-writes
-- What dashboards show, in one look: depths, jobs, series.
-- ARGV: now, jobs of each state and queue (at most 100), spans of 10 s
-- Returns {now, scheduled, dead, all paused since, depths, jobs, series}; a job is {id, fields …, reason}
local now, limit = clock(ARGV[1]), tonumber(ARGV[2])
local lines, jobs = depths(now), {}

local function tell(id)
  if #jobs >= 1000 then return end
  local f = redis.call('HMGET', root .. 'j:' .. id, 'st', 'ten', 'model', 'cap', 'prio', 'att', 'crash', 'rel', 'wrk',
    'enq', 'beg', 'tok', 'end', 'dl', 'gw', 'stream')
  if not f[1] then return end
  f[#f + 1] = f[1] == 'failed' and why_failed(redis.call('HGET', root .. 'j:' .. id, 'r')) or ''
  jobs[#jobs + 1] = {id, f}
end

for _, line in ipairs(lines) do
  for _, entry in ipairs(line[5] > 0 and redis.call('XRANGE', flight(line[1]), '-', '+', 'COUNT', limit) or {}) do
    tell(entry[2][2])
  end
  for priority = 0, 2 do
    local heads = line[priority + 2] > 0 and redis.call('ZRANGE', waiting(line[1], priority), 0, limit - 1) or {}
    for _, id in ipairs(heads) do tell(id) end
  end
end
for _, id in ipairs(redis.call('ZRANGE', root .. 'sched', 0, limit - 1)) do tell(id) end
for _, state in ipairs({'done', 'failed', 'cancelled'}) do
  for _, id in ipairs(redis.call('LRANGE', root .. 'end:' .. state, 0, limit - 1)) do tell(id) end
end
return {
  now, redis.call('ZCARD', root .. 'sched'), redis.call('ZCARD', root .. 'dead'),
  tonumber(redis.call('HGET', root .. 'paused', '') or '0'), lines, jobs, series(now, tonumber(ARGV[3]))
}
