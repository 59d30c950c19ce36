#!lua
-- Queue a failed job again, with all its attempts before it. Idempotent: a live job is left alone.
-- It gets as much time as it had at first, its log begins anew, and whoever asks finds it as a background job.
-- ARGV: id, now, time to the deadline at least (ms), terms (limits) or ''
-- Returns OK or NONE; with terms {OK or LIMIT, what each limit says}
local job, now = load(ARGV[1]), clock(ARGV[2])
local key = root .. 'j:' .. ARGV[1]
local payload = redis.call('HGET', key, 'p')
if not job or job.st ~= 'failed' or not payload then return 'NONE' end
if payload:byte() == 0xC1 then -- a reference: is its blob still there?
  local blob = cmsgpack.unpack(payload:sub(2))
  if blob[2] == 'broker' and redis.call('EXISTS', root .. 'b:' .. blob[3]) == 0 then return 'NONE' end
end
local ttl = math.max(tonumber(ARGV[3]), job.dl - job.enq)
local terms, lines = ARGV[4] and ARGV[4] ~= '' and cmsgpack.unpack(ARGV[4]), {}
if terms then
  local free
  free, lines = admit(terms, ttl, now)
  if not free then return {'LIMIT', lines} end
  terms.a, terms.at = nil, now
  redis.call('HSET', key, 'lim', cmsgpack.pack(terms))
end
local shares = root .. 'vt:' .. job.queue
job.tag = redis.call('HGET', shares, job.prio) or job.tag
remember(job, 'failed', job.beg or job.enq, tonumber(redis.call('HGET', key, 'end')), why_failed(redis.call('HGET', key, 'r')))
remember(job, 'requeued', job.enq, now, '')
-- attempts go on counting, since they fence; all of them so far count as released
redis.call('HSET', key, 'crash', 0, 'rel', job.att, 'enq', now, 'dl', now + ttl, 'tag', job.tag, 'gw', '', 'stream', 1,
  'life', job.att)
redis.call('HDEL', key, 'r', 'cancel', 'beg', 'end', 'tok')
redis.call('PEXPIRE', key, ttl + 86400000)
hold_blob(job.id, ttl + IDLE, now)
hold_blob(job.id .. '.q', ttl + 86400000, now)
begin_log(job.id, job.att, ttl + S.result_ttl)
redis.call('ZREM', root .. 'dead', job.id)
redis.call('LREM', root .. 'end:failed', 0, job.id)
redis.call('ZADD', root .. 'dl', now + ttl, job.id)
keep(root .. 'dl')
redis.call('ZADD', root .. 'queues', now, job.queue)
keep(root .. 'queues')
count('q', job.ten, 1)
wait(job)
return terms and {'OK', lines} or 'OK'
