#!lua flags=allow-oom
-- Give back what was charged for jobs that were never queued. Not idempotent.
-- ARGV: now, how many, terms as they were stored with jobs
settle(cmsgpack.unpack(ARGV[3]), {}, clock(ARGV[1]), tonumber(ARGV[2]))
return 1
