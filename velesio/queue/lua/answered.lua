#!lua flags=allow-oom
-- A gateway's readers have the ends of these jobs: results go at once, records soon. Failed jobs, which operators look
-- at, stay. Repeating it does no harm.
-- ARGV: gateway, ids (at most 200)
-- Returns how many of them were known
local known = 0
for index = 2, #ARGV do
  local key = root .. 'j:' .. ARGV[index]
  local f = redis.call('HMGET', key, 'st', 'gw')
  if f[2] == ARGV[1] and (f[1] == 'done' or f[1] == 'cancelled') then
    redis.call('HDEL', key, 'r')
    redis.call('PEXPIRE', key, S.answered_ttl)
    drop_blob(ARGV[index] .. '.r')
    known = known + 1
  end
end
return known
