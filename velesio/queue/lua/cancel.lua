#!lua flags=allow-oom
-- Cancel a job wherever it is.
-- ARGV: id, now, reason
-- Returns ENDED, ASKED (its worker was told) or NONE (unknown or already final)
local job = load(ARGV[1])
if not job then return 'NONE' end
if job.st == 'r' then
  abort(job, ARGV[3])
  return 'ASKED'
elseif job.st == 'q' or job.st == 's' then
  cancelled(job, ARGV[3], clock(ARGV[2]))
  return 'ENDED'
end
return 'NONE'
