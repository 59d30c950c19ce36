#!lua flags=allow-oom
-- Add to the series of the last hour what a worker has measured since it last did.
-- ARGV: now, then for each value (at most 500): name, amount
local key = root .. 'ser:' .. math.floor(clock(ARGV[1]) / 10000)
for index = 2, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[index], ARGV[index + 1]) end
redis.call('PEXPIRE', key, 3660000)
return 1
