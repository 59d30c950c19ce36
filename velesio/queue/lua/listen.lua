#!lua flags=allow-oom
-- A gateway lives: create or keep its reply stream and drop what it has read.
-- ARGV: gateway, id of the last entry read, lifetime of the gateway (ms), lifetime of the stream (ms)
-- Returns {the last id that the stream gave out, 1 if the stream was not there}
local key = root .. 'r:' .. ARGV[1]
redis.call('SET', root .. 'gw:' .. ARGV[1], '1', 'PX', ARGV[3])
local created = 1 - redis.call('EXISTS', key)
if created == 1 then redis.call('XADD', key, '*', 'b', '\144') end -- msgpack: an empty array
redis.call('XTRIM', key, 'MINID', ARGV[2])
redis.call('PEXPIRE', key, ARGV[4])
local info = redis.call('XINFO', 'STREAM', key)
for index = 1, #info, 2 do
  if info[index] == 'last-generated-id' then return {info[index + 1], created} end
end
