#!lua flags=allow-oom
-- Forget jobs that have ended: record, output log and blobs. Others are left alone.
-- ARGV: ids (at most 100)
-- Returns how many were forgotten
local forgotten = 0
for _, id in ipairs(ARGV) do
  local key = root .. 'j:' .. id
  local state = redis.call('HGET', key, 'st')
  if state == 'done' or state == 'failed' or state == 'cancelled' then
    drop_blob(id)
    drop_blob(id .. '.q')
    drop_blob(id .. '.r')
    redis.call('DEL', key, root .. 'o:' .. id)
    redis.call('LREM', root .. 'end:' .. state, 0, id)
    redis.call('ZREM', root .. 'dead', id)
    forgotten = forgotten + 1
  end
end
return forgotten
