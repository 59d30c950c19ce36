-- Names, job records and moves between states that several scripts share; put before each of them.
-- S (settings, times in ms) is put before this text. Every move is one of:
--   s scheduled -> q queued -> r running -> done | failed | cancelled
local root = KEYS[1]
local KEEP = 604800000 -- 7 days: the longest that a key lives after its last use
local IDLE = 600000 -- 10 minutes: how long an idle queue remembers its shares

local function clock(argument)
  -- 0 asks for the server's clock, the only one in production; tests pass their own
  local now = tonumber(argument)
  if now > 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number(value) return string.format('%.17g', value) end
local function keep(key) redis.call('PEXPIRE', key, KEEP) end
local function waiting(queue, priority) return root .. 'w:' .. queue .. ':' .. priority end
local function flight(queue) return root .. 'f:' .. queue end

local function load(id)
  local f = redis.call('HMGET', root .. 'j:' .. id, 'st', 'cap', 'model', 'prio', 'ten', 'gw', 'att', 'wrk',
    'ent', 'crash', 'rel', 'cancel', 'stream', 'tag', 'dl', 'enq', 'pre', 'sus')
  if not f[1] then return nil end
  return {id = id, st = f[1], queue = f[2] .. ':' .. f[3], prio = f[4], ten = f[5], gw = f[6],
    att = tonumber(f[7]), wrk = f[8], ent = f[9], crash = tonumber(f[10]), rel = tonumber(f[11]), cancel = f[12],
    stream = f[13] == '1', tag = f[14], dl = tonumber(f[15]), enq = tonumber(f[16]), pre = f[17], sus = tonumber(f[18])}
end

local function count(kind, tenant, by)
  local key = root .. 'cnt:' .. kind
  if redis.call('HINCRBY', key, tenant, by) <= 0 then redis.call('HDEL', key, tenant) else keep(key) end
end

local function wake(queue)
  local key = root .. 'wake:' .. queue
  if redis.call('RPUSH', key, '1') > 64 then redis.call('LTRIM', key, -64, -1) end
  keep(key)
end

local function leave(job)
  -- take the job out of the place that its state names
  if job.st == 'r' then
    redis.call('XACK', flight(job.queue), 'w', job.ent)
    redis.call('XDEL', flight(job.queue), job.ent)
    count('r', job.ten, -1)
  else
    redis.call('ZREM', job.st == 'q' and waiting(job.queue, job.prio) or root .. 'sched', job.id)
    count('q', job.ten, -1)
  end
end

local function wait(job)
  -- (back) into the waiting set at its old place; the caller has taken it out of where it was
  local key = waiting(job.queue, job.prio)
  redis.call('HSET', root .. 'j:' .. job.id, 'st', 'q', 'wrk', '')
  redis.call('ZADD', key, job.tag, job.id)
  keep(key)
  wake(job.queue)
end

local function send(job, body)
  -- to whoever listens: the gateway if it lives (its stream exists), else the output log of a background job
  if job.gw ~= '' then
    redis.call('XADD', root .. 'r:' .. job.gw, 'NOMKSTREAM', 'MAXLEN', '~', S.reply_length, '*', 'b', body)
  elseif job.stream then
    redis.call('XADD', root .. 'o:' .. job.id, 'MAXLEN', '~', S.output_length, '*', 'b', body)
    redis.call('PEXPIRE', root .. 'o:' .. job.id, S.result_ttl)
  end
end

local function conclude(job, state, result, ttl, now)
  -- the one way into a final state
  local key = root .. 'j:' .. job.id
  leave(job)
  redis.call('HSET', key, 'st', state, 'end', now, 'r', result)
  if state ~= 'failed' then redis.call('HDEL', key, 'p') end -- a failed job can be queued again
  redis.call('PEXPIRE', key, ttl)
  redis.call('ZREM', root .. 'dl', job.id)
  local totals, ended = root .. 'n:' .. job.queue, root .. 'end:' .. state
  redis.call('HINCRBY', totals, state, 1)
  keep(totals)
  redis.call('LPUSH', ended, job.id)
  redis.call('LTRIM', ended, 0, 199)
  keep(ended)
end

local function bury(job, now)
  local key = root .. 'dead'
  redis.call('ZADD', key, now, job.id)
  redis.call('ZREMRANGEBYRANK', key, 0, -S.dead_letters - 1)
  keep(key)
end

local function decide(job, state, event, ttl, now)
  -- an end that no worker brought: it counts as an attempt of its own, which fences the earlier ones
  local attempt = job.att + 1
  redis.call('HSET', root .. 'j:' .. job.id, 'att', attempt)
  conclude(job, state, cmsgpack.pack(event), ttl, now)
  send(job, cmsgpack.pack({{job.id, attempt, 0, event}}))
end

local function cancelled(job, reason, now)
  decide(job, 'cancelled', {5, reason}, S.result_ttl, now)
end

local function expired(job, now)
  decide(job, 'failed', {4, 'deadline_exceeded', 'The job was not done before its deadline.'}, S.result_ttl, now)
end

local function abort(job, reason)
  -- ask the worker, for the first reason there was; its next beat repeats it if this message gets lost
  reason = job.cancel or reason
  redis.call('HSET', root .. 'j:' .. job.id, 'cancel', reason)
  redis.call('PUBLISH', root .. 'c:' .. job.wrk, job.id .. ' ' .. reason)
end

local function held(owner, id, attempt)
  -- the job if this lease still holds it: the fence of everything a worker writes
  local job = load(id)
  if job and job.st == 'r' and job.wrk == owner and job.att == tonumber(attempt) then return job end
  return nil, job
end

local function lost(job, now)
  -- the lease ran out: its worker died, hangs or is cut off
  job.crash = job.crash + 1
  redis.call('HSET', root .. 'j:' .. job.id, 'crash', job.crash, 'sus', now)
  if job.cancel == 'deadline' or job.dl <= now then
    expired(job, now)
  elseif job.cancel then
    cancelled(job, job.cancel, now)
  elseif job.crash > S.max_crashes then
    bury(job, now)
    decide(job, 'failed', {4, 'worker_lost', 'Lost with its worker ' .. job.crash .. ' times, the last was ' .. job.wrk
      .. '; not tried again.'}, S.failed_ttl, now)
  else
    leave(job)
    count('q', job.ten, 1)
    wait(job)
  end
end

local function reclaim(queue, now)
  -- leases not renewed for S.lease by the server's own idle clock; the cursor lets each be looked at in turn
  local key, shares = flight(queue), root .. 'vt:' .. queue
  local cursor = redis.call('HGET', shares, 'cursor') or '0-0'
  local found = redis.pcall('XAUTOCLAIM', key, 'w', '-', S.lease, cursor, 'COUNT', 10)
  if found.err then return 0 end -- nothing was ever leased here
  if found[1] ~= cursor then
    redis.call('HSET', shares, 'cursor', found[1])
    keep(shares)
  end
  for _, entry in ipairs(found[2]) do
    local job = load(entry[2][2])
    if job and job.st == 'r' and job.ent == entry[1] then
      lost(job, now)
    else
      redis.call('XACK', key, 'w', entry[1])
      redis.call('XDEL', key, entry[1])
    end
  end
  return #found[2]
end

local function promote(now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'sched', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', root .. 'sched', id)
    local job = load(id)
    if job and job.st == 's' then wait(job) end
  end
end
