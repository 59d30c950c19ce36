#!lua flags=allow-oom
-- Lease jobs to a worker. Not idempotent: a reply that gets lost is made good by the next call with recover = 1.
-- ARGV: owner, now, jobs that the owner runs, recover (1|0), number of models, then for each capability, model, room;
--       number of prefix hashes, the hashes; entries that the owner knows (only with recover)
-- Returns {leases, queues with jobs left, now}; a lease is {id, attempt, crashes, entry, releases, fields of the job …}
local owner, now, running, recover = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local models, position = {}, 6
for index = 1, tonumber(ARGV[5]) do
  models[index] = {queue = ARGV[position] .. ':' .. ARGV[position + 1], room = tonumber(ARGV[position + 2])}
  position = position + 3
end
local cached, any_cached = {}, tonumber(ARGV[position]) > 0
for index = position + 1, position + tonumber(ARGV[position]) do cached[ARGV[index]] = true end
position = position + tonumber(ARGV[position]) + 1
local leases, more, budget, blocked = {}, {}, 100, false

local function hand_over(job, entry)
  local f = redis.call('HMGET', root .. 'j:' .. job.id, 'cap', 'model', 'prio', 'ten', 'cost', 'dl', 'gw', 'stream',
    'enq', 'p', 'trace')
  leases[#leases + 1] = {job.id, job.att, job.crash, entry, job.rel, f}
  running = running + 1
  if job.crash > 0 then blocked = true end -- a suspect of a crash runs alone
end

local function lease(job)
  local key = flight(job.queue)
  leave(job)
  count('r', job.ten, 1)
  local entry = redis.call('XADD', key, '*', 'j', job.id)
  claim(job.queue, owner, entry)
  keep(key)
  job.att = job.att + 1
  if job.att > 1 then redis.call('HDEL', root .. 'j:' .. job.id, 'tok') end -- an earlier attempt's first output
  redis.call('HSET', root .. 'j:' .. job.id, 'st', 'r', 'att', job.att, 'wrk', owner, 'ent', entry, 'beg', now)
  hand_over(job, entry)
end

local function overlap(hashes)
  -- hashes of ever longer beginnings of the prompt: how many of them are cached here
  local length = 0
  for hash in hashes:gmatch('%S+') do
    if not cached[hash] then break end
    length = length + 1
  end
  return length
end

local function unfit(job, set, id)
  -- true if the candidate left the set; it does not count as looked at
  if not job then
    redis.call('ZREM', set, id)
  elseif job.dl <= now then
    expired(job, now)
  else
    return false
  end
  return true
end

local function is_host(job)
  -- whether this worker is the one that runs empty for a suspect: that with least to do of those that ask. The others
  -- go on; one that no longer asks is replaced
  local key = root .. 'j:' .. job.id
  local f = redis.call('HMGET', key, 'host', 'hosted', 'busy')
  if f[1] and f[1] ~= owner and now - f[2] <= S.alone_wait and tonumber(f[3]) <= running then return false end
  redis.call('HSET', key, 'host', owner, 'hosted', now, 'busy', running)
  return true
end

local function choose(set)
  -- of the first few, the one with the longest cached beginning; the head, if nothing is cached or it waits for long.
  -- Suspects that must not run here now hide nothing behind them
  local best, depth, gone, from = nil, -1, 0, 0
  repeat
    local ids = redis.call('ZRANGE', set, from, from + S.look_ahead - 1)
    for rank, id in ipairs(ids) do
      budget = budget - 1
      local job = load(id)
      if unfit(job, set, id) then
        gone = gone + 1
      elseif job.crash > 0 and running > 0 then
        if now - job.sus > S.alone_wait and is_host(job) then blocked = true return nil, 0 end
      else
        local match = any_cached and overlap(job.pre) or 0
        if match > depth then best, depth = job, match end
        if not any_cached or (from + rank == 1 and now - job.enq > S.look_ahead_wait) then break end
      end
    end
    from = from + #ids
  until best or gone > 0 or budget <= 0 or #ids < S.look_ahead
  return best, gone
end

local TURNS = {0, 1, 0, 0, 1, 0, 2, 0, 0, 1, 0, 1, 0} -- 8 : 4 : 1, so that batch never starves
local function next_class(open, turn)
  for _ = 1, 13 do
    turn = turn % 13 + 1
    if open[TURNS[turn]] then return TURNS[turn], turn end
  end
end

local function serve(model)
  local shares = root .. 'vt:' .. model.queue
  local known = redis.call('HMGET', shares, 'turn', '0', '1', '2')
  local turn, virtual, open, fresh = tonumber(known[1] or '0'), {}, {}, {}
  for priority = 0, 2 do
    virtual[priority] = tonumber(known[priority + 2] or '0')
    open[priority] = redis.call('ZCARD', waiting(model.queue, priority)) > 0
  end
  while model.room > 0 and budget > 0 and not blocked do
    local priority, after = next_class(open, turn)
    if not priority then break end
    local job, gone = choose(waiting(model.queue, priority))
    if job then
      turn, model.room = after, model.room - 1
      virtual[priority] = math.max(virtual[priority], tonumber(job.tag))
      fresh[#fresh + 1] = tostring(priority)
      fresh[#fresh + 1] = number(virtual[priority])
      lease(job)
    elseif gone == 0 then
      open[priority] = false
    end
  end
  if #fresh > 0 then
    redis.call('HSET', shares, 'turn', turn, unpack(fresh))
    keep(shares)
  end
end

local function tidy(queue)
  for priority = 0, 2 do
    if redis.call('EXISTS', waiting(queue, priority)) == 1 then
      more[#more + 1] = queue
      return
    end
  end
  redis.call('DEL', root .. 'wake:' .. queue) -- nothing to wake up for
  redis.call('PEXPIRE', root .. 'vt:' .. queue, IDLE)
end

local function adopt(model, known)
  -- leases of this owner whose hand-over got lost: nobody runs them, so the attempt stays the same
  local key = flight(model.queue)
  local pending = redis.pcall('XPENDING', key, 'w', '-', '+', 1000, owner)
  if pending.err then return end
  for _, item in ipairs(pending) do
    local entry = redis.call('XRANGE', key, item[1], item[1])[1]
    local job = entry and load(entry[2][2])
    if job and job.wrk == owner and job.ent == item[1] and not known[item[1]] then
      hand_over(job, item[1])
      model.room = model.room - 1
    end
  end
end

if recover then
  local known = {}
  for index = position, #ARGV do known[ARGV[index]] = true end
  for _, model in ipairs(models) do adopt(model, known) end
end
promote(now)
for _, model in ipairs(models) do
  reclaim(model.queue, now)
  if not is_paused(model.queue) then -- when it goes on, workers are woken
    serve(model)
    tidy(model.queue)
  end
end
return {leases, more, now}
