#!lua flags=no-writes
-- The workers that live (at most 1000).
-- ARGV: now
-- Returns for each: {owner, beat, cards, info}
local now, answer = clock(ARGV[1]), {}
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', root .. 'wks', now - S.worker_ttl, '+inf', 'LIMIT', 0, 1000)) do
  local f = redis.call('HMGET', root .. 'wk:' .. owner, 'beat', 'cards', 'info')
  if f[1] then answer[#answer + 1] = {owner, f[1], f[2], f[3]} end
end
return answer
