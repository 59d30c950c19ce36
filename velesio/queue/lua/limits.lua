-- Limits and accounts, for scripts that queue and end jobs. Put before lua/common.lua, of which it uses nothing.
-- What is used counts for a while: each meter is a hash of amounts by the part of time in which they were charged.
-- Letters: r requests, t tokens, i pictures, g ms of engines, T I G the same in 30 days, c requests at a time.
local STEP = {r = 2000, t = 2000, i = 3600000, g = 3600000, T = 86400000, I = 86400000, G = 86400000} -- ms of a part
local PARTS = {r = 30, t = 30, i = 24, g = 24, T = 30, I = 30, G = 30}

local function meter(letter, subject) return KEYS[1] .. 'rl:' .. letter .. ':' .. subject end

local function charge(letter, subject, amount, now)
  local key = meter(letter, subject)
  redis.call('HINCRBY', key, math.floor(now / STEP[letter]), amount)
  redis.call('PEXPIRE', key, (PARTS[letter] + 2) * STEP[letter])
end

local function charged(letter, subject, now)
  -- what counts still: the sum, and {part, amount} from the oldest on. The current part is one more than there are, so
  -- that an amount counts for the whole time at least
  local key, first, total, parts = meter(letter, subject), math.floor(now / STEP[letter]) - PARTS[letter], 0, {}
  local found = redis.call('HGETALL', key)
  for index = 1, #found, 2 do
    local part, amount = tonumber(found[index]), tonumber(found[index + 1])
    if part < first then
      redis.call('HDEL', key, found[index])
    else
      total, parts[#parts + 1] = total + amount, {part, amount}
    end
  end
  table.sort(parts, function(one, two) return one[1] < two[1] end)
  return total, parts
end

local function until_free(letter, parts, amount, now)
  -- ms until so much of what was charged counts no more
  local freed, wait = 0, 0
  for _, part in ipairs(parts) do
    if freed >= amount then break end
    freed, wait = freed + part[2], (part[1] + PARTS[letter] + 1) * STEP[letter] - now
  end
  return wait
end

local function hold(subject, slot, ends, now)
  local key = meter('c', subject)
  redis.call('ZADD', key, ends, slot)
  redis.call('PEXPIRE', key, math.max(ends - now, redis.call('PTTL', key)))
end

local function weigh(letter, subject, limit, terms, now)
  -- what a limit says of a request: {sum before, its part of it, ms to wait (0: none), parts}
  if letter == 'c' then
    redis.call('ZREMRANGEBYSCORE', meter('c', subject), '-inf', now)
    local held = redis.call('ZCARD', meter('c', subject))
    return {held, 1, held >= limit and 1000 or 0, {}}
  end
  local amount = terms.a[letter] or 0
  local total, parts = charged(letter, subject, now)
  local excess = total + amount - limit
  return {total, amount, (amount > 0 and excess > 0) and until_free(letter, parts, excess, now) or 0, parts}
end

local function admit(terms, ttl, now)
  -- A request is charged with all its limits, or with none if one of them is used up.
  -- Returns whether it is, and for each limit {subject, letter, limit, left, ms until it is whole again, ms to wait}
  local lines, found, free = {}, {}, true
  for index, subject in ipairs(terms.s) do
    for letter, limit in pairs(subject[2]) do
      local weight = weigh(letter, subject[1], limit, terms, now)
      if letter == 'c' or weight[2] > 0 then
        found[#found + 1] = {index, letter, limit, weight}
        free = free and weight[3] == 0
      end
    end
  end
  local ends = now + ttl + 10000
  for _, line in ipairs(found) do
    local index, letter, limit, weight = unpack(line)
    local subject, left, reset = terms.s[index][1], limit - weight[1] - (free and weight[2] or 0), 1000
    if free and letter == 'c' then hold(subject, terms.id, ends, now) end
    if free and letter ~= 'c' then charge(letter, subject, weight[2], now) end
    if letter ~= 'c' then
      local current = {math.floor(now / STEP[letter]), weight[2]}
      if free then weight[4][#weight[4] + 1] = current end
      reset = until_free(letter, weight[4], math.huge, now)
    end
    lines[#lines + 1] = {index, letter, limit, math.max(0, left), reset, weight[3]}
  end
  if free and terms.n > 1 then redis.call('SET', KEYS[1] .. 'rl:n:' .. terms.id, terms.n, 'PX', ttl + 10000) end
  return free, lines
end

local function adjust(letter, subject, was, is, at, now)
  -- less than was charged is given back to where it was charged; more is charged now
  if is > was then return charge(letter, subject, is - was, now) end
  local key, part = meter(letter, subject), math.floor(at / STEP[letter])
  local known = is < was and redis.call('HGET', key, part)
  if known then redis.call('HSET', key, part, math.max(0, known + is - was)) end
end

local function settle(terms, used, now, jobs)
  -- so many jobs of a request are over and have used this; the last one frees its place
  local last = terms.n <= 1 or redis.call('DECRBY', KEYS[1] .. 'rl:n:' .. terms.id, jobs) <= 0
  if last and terms.n > 1 then redis.call('DEL', KEYS[1] .. 'rl:n:' .. terms.id) end
  for _, subject in ipairs(terms.s) do
    for letter in pairs(subject[2]) do
      if letter ~= 'c' then
        adjust(letter, subject[1], terms.e[letter] or 0, used[letter] or 0, terms.at, now)
      elseif last then
        redis.call('ZREM', meter('c', subject[1]), terms.id)
      end
    end
  end
end

local function enter(name, step, kept, who, amounts, now)
  -- into the accounts of this day or hour
  local page = KEYS[1] .. 'use:' .. name .. ':' .. math.floor(now / step)
  local known = redis.call('HGET', page, who)
  if not known then
    if redis.call('HLEN', page) >= S.usage_rows then
      who = '\31\31'
      known = redis.call('HGET', page, who)
    end
  end
  local sums = known and cmsgpack.unpack(known) or {0, 0, 0, 0, 0, 0, 0}
  for index, amount in ipairs(amounts) do sums[index] = sums[index] + amount end
  redis.call('HSET', page, who, cmsgpack.pack(sums))
  if not known then redis.call('PEXPIRE', page, (kept + 1) * step) end
end

local function account(job, state, now)
  -- a job is over: what it has used is settled with its limits and entered in the accounts
  local key = KEYS[1] .. 'j:' .. job.id
  local f = redis.call('HMGET', key, 'key', 'lim', 'use')
  local first, who = (f[1] or '0 '):match('^(%d) (.*)$')
  local use = {}
  for amount in (f[3] or '0 0 0 0 0'):gmatch('%d+') do use[#use + 1] = tonumber(amount) end
  if f[2] then
    local terms, tokens = cmsgpack.unpack(f[2]), use[1] + use[2]
    local used = {r = terms.e.r, t = tokens, T = tokens, i = use[4], I = use[4], g = use[5], G = use[5]}
    settle(terms, used, now, 1)
  end
  redis.call('HDEL', key, 'lim', 'use')
  local amounts = {tonumber(first), state == 'failed' and 1 or 0, use[1], use[2], use[3], use[4], use[5]}
  who = who .. '\31' .. job.ten .. '\31' .. job.queue:match('^%a+:(.*)$')
  enter('d', 86400000, S.usage_days, who, amounts, now)
  enter('h', 3600000, S.usage_hours, who, amounts, now)
end
