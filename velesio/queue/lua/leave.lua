#!lua flags=allow-oom
-- A worker says good-bye.
-- ARGV: owner
redis.call('DEL', root .. 'wk:' .. ARGV[1], root .. 'quiet:' .. ARGV[1], root .. 'wish:' .. ARGV[1])
redis.call('ZREM', root .. 'wks', ARGV[1])
redis.call('PUBLISH', root .. 'ctl', 'gone ' .. ARGV[1])
return 1
