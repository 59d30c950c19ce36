#!lua
-- Change one entry of a table that gateways have copies of, if it is as the caller knows it. Repeated after a lost
-- answer it says STALE.
-- ARGV: table, name, entry as it was or '', entry as it shall be or '' for none, entries at most, what the audit log gets
-- Returns OK, STALE (somebody else has changed it) or FULL
local key, name = root .. ARGV[1], ARGV[2]
if (redis.call('HGET', key, name) or '') ~= ARGV[3] then return 'STALE' end
if ARGV[4] == '' then
  redis.call('HDEL', key, name)
else
  if ARGV[3] == '' and redis.call('HLEN', key) >= tonumber(ARGV[5]) then return 'FULL' end
  redis.call('HSET', key, name, ARGV[4])
end
redis.call('XADD', root .. 'audit', 'MAXLEN', '~', S.audit_length, '*', 'b', ARGV[6])
local version = redis.call('INCR', root .. 'roster')
redis.call('PUBLISH', root .. 'roster', version)
return 'OK'
