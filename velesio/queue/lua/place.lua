#!lua flags=no-writes
-- Where a waiting job stands.
-- ARGV: id, now
-- Returns {state or '', jobs ahead, ms until it begins}; -1: not known
local job = load(ARGV[1])
if not job then return {'', -1, -1} end
if job.st == 'q' then
  local ahead = rank(job.queue, tonumber(job.prio), job.id)
  return {job.st, ahead, eta(job.queue, ahead)}
elseif job.st == 's' then
  local due = redis.call('ZSCORE', root .. 'sched', job.id)
  return {job.st, -1, due and math.max(0, math.ceil(due - clock(ARGV[2]))) or -1}
end
return {job.st, -1, -1}
