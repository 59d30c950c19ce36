-- Names, job records and moves between states that several scripts share; what a script uses is put before it.
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
    'ent', 'crash', 'rel', 'cancel', 'stream', 'tag', 'dl', 'enq', 'pre', 'sus', 'beg')
  if not f[1] then return nil end
  return {id = id, st = f[1], queue = f[2] .. ':' .. f[3], prio = f[4], ten = f[5], gw = f[6],
    att = tonumber(f[7]), wrk = f[8], ent = f[9], crash = tonumber(f[10]), rel = tonumber(f[11]), cancel = f[12],
    stream = f[13] == '1', tag = f[14], dl = tonumber(f[15]), enq = tonumber(f[16]), pre = f[17], sus = tonumber(f[18]),
    beg = tonumber(f[19] or nil)}
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

local function rank(queue, priority, id)
  -- how many jobs are served before this waiting one, about: later ones of tenants that had less may overtake it
  local ahead = redis.call('ZRANK', waiting(queue, priority), id) or 0
  for other = 0, priority - 1 do ahead = ahead + redis.call('ZCARD', waiting(queue, other)) end
  return ahead
end

local function eta(queue, ahead)
  -- ms until a job with that many before it begins; -1 if nothing runs there or nothing has ended yet: nobody knows
  local running, ran = redis.call('XLEN', flight(queue)), redis.call('GET', root .. 'ran:' .. queue)
  if running == 0 or not ran then return -1 end
  return math.ceil((ahead + 1) * tonumber(ran) / running)
end

local function why_failed(result)
  -- why a job failed, of a result as it is stored: '' if it did not, or if that lies elsewhere
  local read, found = pcall(cmsgpack.unpack, result or '')
  if not read or type(found) ~= 'table' or found[1] ~= 4 then return '' end
  return tostring(found[2]) .. ': ' .. tostring(found[3])
end

local function remember(job, what, from, now, why)
  -- a part of the job's life is over and the job is not: the last 50 of them are its timeline
  local key = root .. 'j:' .. job.id
  local known = redis.call('HGET', key, 'past')
  local past = known and cmsgpack.unpack(known) or {}
  past[#past + 1] = {what, from, now, job.att, job.wrk, why}
  if #past > 50 then table.remove(past, 1) end
  redis.call('HSET', key, 'past', cmsgpack.pack(past))
end

local function begin_log(job_id, attempts, ttl)
  -- the output log of a background job begins (anew): what its first so many attempts wrote is void. Trimmed and not
  -- deleted, so that what follows has larger ids and a reader that waits at the old end meets it
  local key = root .. 'o:' .. job_id
  redis.call('XTRIM', key, 'MAXLEN', 0)
  redis.call('XADD', key, '*', 'b', cmsgpack.pack({{job_id, attempts, -1, {10}}}))
  redis.call('PEXPIRE', key, ttl)
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

local function outlive(key, ttl)
  if redis.call('PTTL', key) < ttl + IDLE then redis.call('PEXPIRE', key, ttl + IDLE) end
end

local function hold_blob(name, ttl, now)
  -- it lives for ttl from now; bx knows when each expires and outlives them all
  if redis.call('PEXPIRE', root .. 'b:' .. name, ttl) == 0 then return false end
  redis.call('ZADD', root .. 'bx', now + ttl, name)
  outlive(root .. 'bx', ttl)
  outlive(root .. 'bs', ttl)
  return true
end

local function drop_blob(name)
  local size = redis.call('HGET', root .. 'bs', name)
  redis.call('ZREM', root .. 'bx', name)
  if not size then return end
  redis.call('DEL', root .. 'b:' .. name)
  redis.call('HDEL', root .. 'bs', name)
  redis.call('HINCRBY', root .. 'bs', '', -size) -- the sum of all
end

local function room(bytes, now)
  -- whether so many more fit into the budget, once those that have expired are no longer counted
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', root .. 'bx', '-inf', now, 'LIMIT', 0, 1000)) do drop_blob(name) end
  return tonumber(redis.call('HGET', root .. 'bs', '') or '0') + bytes <= S.blob_budget
end

local function put_blob(name, data, ttl, now)
  -- the caller has found room
  if not data or data == '' then return end
  drop_blob(name)
  redis.call('SET', root .. 'b:' .. name, data)
  redis.call('HSET', root .. 'bs', name, #data)
  redis.call('HINCRBY', root .. 'bs', '', #data)
  hold_blob(name, ttl, now)
end

local function settle_blobs(job, again, ttl, now)
  -- the input goes with the end of a job that cannot run again; what else there is stays as long as the record
  local sizes = redis.call('HMGET', root .. 'bs', job.id, job.id .. '.q')
  if sizes[1] and again then hold_blob(job.id, ttl, now) elseif sizes[1] then drop_blob(job.id) end
  if sizes[2] then hold_blob(job.id .. '.q', ttl, now) end
end

local function ring(id, state, result, now)
  -- whoever hung a hook on the job is to be told of its end, from now on
  local key = root .. 'hook:' .. id
  if redis.call('EXISTS', key) == 0 then return end
  redis.call('HSET', key, 'st', state, 'end', now, 'tries', 0, 'r', state == 'done' and '' or result)
  redis.call('HINCRBY', key, 'number', 1)
  keep(key)
  redis.call('ZADD', root .. 'tell', now, id)
  keep(root .. 'tell')
end

local function conclude(job, state, result, ttl, now)
  -- the one way into a final state
  local key = root .. 'j:' .. job.id
  leave(job)
  redis.call('HSET', key, 'st', state, 'end', now, 'r', result)
  if state ~= 'failed' then redis.call('HDEL', key, 'p') end -- a failed job can be queued again
  redis.call('PEXPIRE', key, ttl)
  settle_blobs(job, state == 'failed', ttl, now)
  redis.call('ZREM', root .. 'dl', job.id)
  account(job, state, now)
  local totals, ended = root .. 'n:' .. job.queue, root .. 'end:' .. state
  redis.call('HINCRBY', totals, state, 1)
  if job.st == 'r' then
    -- how long a job runs, the last few counting most: what an ETA is made of
    local ran, known = now - job.beg, tonumber(redis.call('GET', root .. 'ran:' .. job.queue) or nil)
    redis.call('SET', root .. 'ran:' .. job.queue, number(known and known + (ran - known) / 8 or ran), 'PX', KEEP)
  end
  keep(totals)
  redis.call('LPUSH', ended, job.id)
  redis.call('LTRIM', ended, 0, 199)
  keep(ended)
  ring(job.id, state, result, now)
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
  redis.call('HSET', root .. 'j:' .. job.id, 'crash', job.crash, 'sus', now, 'lost', job.att)
  if job.cancel == 'deadline' or job.dl <= now then
    expired(job, now)
  elseif job.cancel then
    cancelled(job, job.cancel, now)
  elseif job.crash > S.max_crashes then
    bury(job, now)
    decide(job, 'failed', {4, 'worker_lost', 'Lost with its worker ' .. job.crash .. ' times, the last was ' .. job.wrk
      .. '; not tried again.'}, S.failed_ttl, now)
  else
    remember(job, 'lost', job.beg, now, '')
    leave(job)
    count('q', job.ten, 1)
    wait(job)
  end
end

local function regroup(queue)
  -- the consumer group is new, or was destroyed: whatever lies in the stream becomes the lease of nobody ('-'), which a
  -- worker's next beat takes back, or which runs out
  redis.call('XGROUP', 'CREATE', flight(queue), 'w', '0')
  redis.call('XREADGROUP', 'GROUP', 'w', '-', 'COUNT', 1000, 'STREAMS', flight(queue), '>')
end

local function is_paused(queue)
  -- by an operator: nothing is leased from it; since when (ms), of all queues or of this one
  local since = redis.call('HMGET', root .. 'paused', '', queue)
  return since[1] or since[2]
end

local function claim(queue, owner, entry)
  -- the entry straight into the owner's pending list; XREADGROUP could deliver somebody's leftover instead
  local command = {'XCLAIM', flight(queue), 'w', owner, 0, entry, 'FORCE', 'LASTID', entry, 'JUSTID'}
  if redis.pcall(unpack(command)).err then
    regroup(queue)
    redis.call(unpack(command))
  end
end

local function watched()
  -- Whether leases have been looked after for a whole lease without a gap. After one, the broker was frozen, down or
  -- cut off from everybody: its idle clock went on but nobody could beat, so every lease begins anew.
  local key, at = root .. 'watch', clock('0')
  local known = redis.call('HMGET', key, 'since', 'looked')
  local since, looked = tonumber(known[1] or '0'), tonumber(known[2] or '0')
  if at - looked > S.gap then since = at end
  if at - looked > S.gap / 4 then
    redis.call('HSET', key, 'since', since, 'looked', at)
    keep(key)
  end
  return at - since >= S.lease
end

local function reclaim(queue, now)
  -- leases not renewed for S.lease by the server's own idle clock; the cursor lets each be looked at in turn
  if not watched() then return 0 end
  local key, shares = flight(queue), root .. 'vt:' .. queue
  local cursor = redis.call('HGET', shares, 'cursor') or '0-0'
  local found = redis.pcall('XAUTOCLAIM', key, 'w', '-', S.lease, cursor, 'COUNT', 10)
  if found.err then
    if redis.call('EXISTS', key) == 1 then regroup(queue) end -- else nothing was ever leased here
    return 0
  end
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

local function depths(now)
  -- for each queue (at most 100): name, waiting 0, 1, 2, running, oldest (ms), done, failed, cancelled, paused since
  -- (ms, 0: it is not)
  local lines = {}
  for _, queue in ipairs(redis.call('ZREVRANGE', root .. 'queues', 0, 99)) do
    local line, oldest = {queue}, 0
    for priority = 0, 2 do
      local set = waiting(queue, priority)
      line[#line + 1] = redis.call('ZCARD', set)
      local head = redis.call('ZRANGE', set, 0, 0)[1]
      local since = head and redis.call('HGET', root .. 'j:' .. head, 'enq')
      if since then oldest = math.max(oldest, now - since) end
    end
    line[#line + 1] = redis.call('XLEN', flight(queue))
    line[#line + 1] = oldest
    for _, total in ipairs(redis.call('HMGET', root .. 'n:' .. queue, 'done', 'failed', 'cancelled')) do
      line[#line + 1] = tonumber(total or '0')
    end
    line[#line + 1] = tonumber(redis.call('HGET', root .. 'paused', queue) or '0')
    lines[#lines + 1] = line
  end
  return lines
end

local function series(now, count)
  -- what workers have measured: of the last so many spans of 10 s, those in which there was something
  local last, found = math.floor(now / 10000), {}
  for span = last - count + 1, last do
    local values = redis.call('HGETALL', root .. 'ser:' .. span)
    if #values > 0 then found[#found + 1] = {span, values} end
  end
  return found
end

local function promote(now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'sched', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', root .. 'sched', id)
    local job = load(id)
    if job and job.st == 's' then wait(job) end
  end
end
