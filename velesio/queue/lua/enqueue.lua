#!lua
-- Queue a job once. Idempotent by job id.
-- ARGV: id, now, capability, model, priority, tenant, weight, cost, time to the deadline (ms), gateway, stream (1|0),
--       payload, prefix hashes, idempotency hash or '', request fingerprint, delay (ms), request as it came or '',
--       blobs to which payload and request refer, or '', terms (limits) or '', index in its request and key,
--       jobs that the tenant may have waiting or '', traceparent or ''
-- Returns {OK|DUP|IDEM|CONFLICT|FULL|TENANT|MEMORY|BLOBS|LIMIT, id, position or depth, ms until it begins (-1: not
--          known), what each limit says, now}
local id, now, capability, model, priority, tenant = ARGV[1], clock(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local weight, cost, ttl, delay = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[16])
local queue, key = capability .. ':' .. model, root .. 'j:' .. id

local function short_of_memory()
  -- INFO is dear, so its answer serves all enqueues of 200 ms
  local known = redis.call('GET', root .. 'mem')
  if not known then
    local info = redis.call('INFO', 'memory')
    local used, limit = tonumber(info:match('used_memory:(%d+)')), tonumber(info:match('maxmemory:(%d+)'))
    known = (limit and limit > 0 and used > limit * (1 - S.memory_reserve)) and '1' or '0'
    redis.call('SET', root .. 'mem', known, 'PX', 200)
  end
  return known == '1'
end

local function start_tag()
  -- start-time fair queueing: a tenant's next job starts where its last one ends, but not in the past
  local shares, own = root .. 'vt:' .. queue, priority .. ':' .. tenant
  local known = redis.call('HMGET', shares, priority, own)
  local virtual = tonumber(known[1] or nil)
  if not virtual then
    local head = redis.call('ZRANGE', waiting(queue, priority), 0, 0, 'WITHSCORES')
    virtual = tonumber(head[2] or '0')
  end
  local tag = math.max(virtual, tonumber(known[2] or '0'))
  redis.call('HSET', shares, own, number(tag + cost / weight))
  keep(shares)
  return number(tag)
end

local function refuse(status, depth) return {status, id, depth, eta(queue, depth)} end

if redis.call('EXISTS', key) == 1 then
  local ahead = rank(queue, priority, id)
  return {'DUP', id, ahead, eta(queue, ahead)}
end
local memo = root .. 'idem:' .. tenant .. ':' .. ARGV[14]
if ARGV[14] ~= '' then
  local known = redis.call('GET', memo)
  if known then
    local other, fingerprint = known:match('^(%S+) (.*)$')
    return {fingerprint == ARGV[15] and 'IDEM' or 'CONFLICT', other, 0, -1}
  end
end
local depth = 0
for other = 0, 2 do depth = depth + redis.call('ZCARD', waiting(queue, other)) end
if depth >= S.cap then return refuse('FULL', depth) end
local most = tonumber(ARGV[22] or nil) or S.tenant_cap
if tonumber(redis.call('HGET', root .. 'cnt:q', tenant) or '0') >= most then return refuse('TENANT', depth) end
if short_of_memory() then return refuse('MEMORY', depth) end
local large = #(ARGV[18] or '') + #(ARGV[19] or '')
if large > 0 and not room(large, now) then return refuse('BLOBS', depth) end
local terms, lines = ARGV[20] and ARGV[20] ~= '' and cmsgpack.unpack(ARGV[20]), {}
if terms and terms.a then
  local free
  free, lines = admit(terms, ttl, now)
  if not free then return {'LIMIT', id, depth, -1, lines, now} end
end

if ARGV[14] ~= '' then redis.call('SET', memo, id .. ' ' .. ARGV[15], 'PX', S.idempotency_ttl) end
local tag = start_tag()
redis.call('HSET', key, 'st', delay > 0 and 's' or 'q', 'cap', capability, 'model', model, 'prio', priority, 'ten', tenant,
  'cost', ARGV[8], 'enq', now, 'dl', now + ttl, 'gw', ARGV[10], 'stream', ARGV[11], 'p', ARGV[12], 'pre', ARGV[13],
  'att', 0, 'crash', 0, 'rel', 0, 'sus', 0, 'wrk', '', 'tag', tag, 'w', ARGV[7], 'key', ARGV[21] or '0 ')
if ARGV[17] and ARGV[17] ~= '' then redis.call('HSET', key, 'req', ARGV[17]) end
if terms then
  terms.a, terms.at = nil, now
  redis.call('HSET', key, 'lim', cmsgpack.pack(terms))
end
if ARGV[23] and ARGV[23] ~= '' then redis.call('HSET', key, 'trace', ARGV[23]) end
redis.call('PEXPIRE', key, ttl + 86400000)
put_blob(id, ARGV[18], ttl + IDLE, now)
put_blob(id .. '.q', ARGV[19], ttl + 86400000, now)
if ARGV[10] == '' and ARGV[11] == '1' then begin_log(id, 0, ttl + S.result_ttl) end
redis.call('ZADD', root .. 'dl', now + ttl, id)
keep(root .. 'dl')
redis.call('ZADD', root .. 'queues', now, queue)
keep(root .. 'queues')
count('q', tenant, 1)
if delay > 0 then
  redis.call('ZADD', root .. 'sched', now + delay, id)
  keep(root .. 'sched')
  return {'OK', id, depth, -1, lines, now}
end
local set = waiting(queue, priority)
redis.call('ZADD', set, tag, id)
keep(set)
wake(queue)
local ahead = rank(queue, priority, id)
return {'OK', id, ahead, eta(queue, ahead), lines, now}
