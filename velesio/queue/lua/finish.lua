#!lua flags=allow-oom
-- End a leased job. Fenced by owner and attempt; repeating it changes nothing.
-- ARGV: owner, id, attempt, now, state, result, dead letter (1|0), message to the listener,
--       blob to which the result refers, or '', ms from the lease to its first output, or '',
--       what it has used (tokens read, written, cached; pictures; ms of the engine)
-- Returns OK, AGAIN (this lease ended it before), STALE or ROOM (nothing was done: the blob exceeds the budget)
local owner, id, now, state = ARGV[1], ARGV[2], clock(ARGV[4]), ARGV[5]
local job, other = held(owner, id, ARGV[3])
if not job then
  local mine = other and other.wrk == owner and other.att == tonumber(ARGV[3]) and other.st == state
  return mine and 'AGAIN' or 'STALE'
end
local dead = ARGV[7] == '1'
if ARGV[9] and ARGV[9] ~= '' and not room(#ARGV[9], now) then return 'ROOM' end
put_blob(id .. '.r', ARGV[9], S.result_ttl, now)
if ARGV[10] and ARGV[10] ~= '' then redis.call('HSET', root .. 'j:' .. id, 'tok', job.beg + ARGV[10]) end
if ARGV[11] then redis.call('HSET', root .. 'j:' .. id, 'use', ARGV[11]) end
conclude(job, state, ARGV[6], dead and S.failed_ttl or S.result_ttl, now)
if dead then bury(job, now) end
send(job, ARGV[8])
return 'OK'
