#!lua flags=allow-oom
-- What became of one delivery. Fenced by the end that it was about and by the try: a job that was queued again and
-- ended anew has another message, and a gateway that was too slow has nothing to say.
-- ARGV: job, end, try, now, ms until the next try (-1: no other)
-- Returns 1, or 0 if the fence was closed
local key = root .. 'hook:' .. ARGV[1]
local known = redis.call('HMGET', key, 'number', 'tries', 'st')
if known[1] ~= ARGV[2] or known[2] ~= ARGV[3] then return 0 end
if tonumber(ARGV[5]) >= 0 then
  redis.call('ZADD', root .. 'tell', clock(ARGV[4]) + ARGV[5], ARGV[1])
else
  redis.call('ZREM', root .. 'tell', ARGV[1])
  if known[3] ~= 'failed' then redis.call('DEL', key) end -- a failed job can be queued again, and end again
end
return 1
