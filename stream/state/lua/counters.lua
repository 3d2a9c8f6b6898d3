-- Entity counters: how links are merged into an entity's value. Put in front of link.lua and commit.lua.
-- The rule is stated in counters.py; MemoryStore is its plain twin.
--
-- An entity is one string of 12-byte entries: little-endian uint32 (what * SPAN + bucket last seen), 8-byte hash.
-- A set of more than `spill` members moves to a sorted set KEY:what, and the string begins with a mark for it:
-- (what + 128) * SPAN + newest bucket of the set, and a hash of zeros.
-- In that sorted set a member of level v is held once for each level 0..v that exists, as char(level)..hash with the
-- score level * SPAN + bucket; each level keeps its newest cap + 1. Member '' has the score -1 - (highest level).
local SPAN = 16777216

local function level_of(hash)
  local number = string.byte(hash, -2) * 256 + string.byte(hash, -1)
  if number == 0 then return 15 end
  local level = 0
  while number % 2 == 0 do
    number = number / 2
    level = level + 1
  end
  return level
end

-- Merge `found` (hash, bucket, hash, bucket, ...) into one spilled set; say whether anything changed.
local function merge_many(key, found, cap, retained)
  local mark = redis.call('ZSCORE', key, '')
  local top = mark and (-1 - tonumber(mark)) or 0
  local changed = 0
  for i = 1, #found, 2 do
    local hash, bucket = found[i], found[i + 1]
    for level = 0, math.min(level_of(hash), top) do
      changed = changed
        + redis.call('ZADD', key, 'GT', 'CH', level * SPAN + bucket, string.char(level) .. hash)
    end
  end
  if changed == 0 then return false end
  local newest = tonumber(redis.call('ZREVRANGEBYSCORE', key, SPAN - 1, 0, 'WITHSCORES', 'LIMIT', 0, 1)[2])
  local level = 0
  while level <= top do
    local base = level * SPAN
    local last = base + SPAN - 1
    if newest > retained then
      redis.call('ZREMRANGEBYSCORE', key, base, base + newest - retained - 1)
    end
    local n = redis.call('ZCOUNT', key, base, last)
    if n > cap then
      if level == top and level < 15 then
        -- Nothing of this level was ever dropped for room before, so the next level starts complete.
        local all = redis.call('ZRANGEBYSCORE', key, base, last, 'WITHSCORES')
        for i = 1, #all, 2 do
          if level_of(all[i]) > level then
            redis.call('ZADD', key, tonumber(all[i + 1]) + SPAN, string.char(level + 1) .. string.sub(all[i], 2))
          end
        end
        top = top + 1
        redis.call('ZADD', key, -1 - top, '')
      end
      if n > cap + 1 then
        local below = redis.call('ZCOUNT', key, '-inf', '(' .. base)
        redis.call('ZREMRANGEBYRANK', key, below, below + n - cap - 2)
      end
    end
    level = level + 1
  end
  return true
end

-- The position of a member's `what` byte in a value, or nil: it is the fourth of an entry, the hash follows.
local function find_member(value, id)
  local at = string.find(value, id, 1, true)
  while at and at % 12 ~= 4 do at = string.find(value, id, at + 1, true) end
  return at
end

-- Forget what is too old in a value and move sets that have become large out of it: into `many`, by what.
local function tidy(value, spill, retained, many)
  local count, newest, oldest = {}, {}, {}
  for p = 1, #value, 12 do
    local a, b, c, what = string.byte(value, p, p + 3)
    local bucket = a + b * 256 + c * 65536
    count[what] = (count[what] or 0) + 1
    if bucket > (newest[what] or -1) then newest[what] = bucket end
    if bucket < (oldest[what] or SPAN) then oldest[what] = bucket end
  end
  local clean = true
  for what, n in pairs(count) do
    if what < 128 and (n > spill or oldest[what] < newest[what] - retained) then clean = false end
  end
  if clean then return value end
  local marks, kept = {}, {}
  for what, n in pairs(count) do
    if what < 128 and n > spill then
      many[what] = {}
      marks[#marks + 1] = struct.pack('<I4', (what + 128) * SPAN + newest[what]) .. '\0\0\0\0\0\0\0\0'
    end
  end
  for p = 1, #value, 12 do
    local a, b, c, what = string.byte(value, p, p + 3)
    local bucket = a + b * 256 + c * 65536
    local found = many[what]
    if what >= 128 then
      marks[#marks + 1] = string.sub(value, p, p + 11)
    elseif bucket >= newest[what] - retained then
      if found then
        found[#found + 1] = string.sub(value, p + 4, p + 11)
        found[#found + 1] = bucket
      else
        kept[#kept + 1] = string.sub(value, p, p + 11)
      end
    end
  end
  return table.concat(marks) .. table.concat(kept)
end

-- Merge `links` (entries as in the value) into one entity. Links that say nothing new write nothing.
local function merge_links(key, links, cap, spill, stride, retained, ttl_ms)
  local before = redis.pcall('GET', key) or ''
  -- Somebody else's value: nothing that could be counted is lost with it.
  if type(before) == 'table' or #before % 12 ~= 0 then
    redis.call('DEL', key)
    before = ''
  end
  local value = before
  local many = {}
  for p = 1, #links, 12 do
    local what = string.byte(links, p + 3)
    local bucket = struct.unpack('<I4', links, p) % SPAN
    local hash = string.sub(links, p + 4, p + 11)
    local mark = find_member(value, string.char(what + 128) .. '\0\0\0\0\0\0\0\0')
    local at = mark or find_member(value, string.sub(links, p + 3, p + 11))
    if mark then
      local found = many[what] or {}
      many[what] = found
      found[#found + 1] = hash
      found[#found + 1] = bucket
    end
    if not at then
      value = value .. string.sub(links, p, p + 11)
    elseif struct.unpack('<I4', value, at - 3) % SPAN < bucket then
      -- A mark carries the newest bucket of its set, so that a read need not look for it.
      value = string.sub(value, 1, at - 4) .. string.sub(links, p, p + 2) .. string.sub(value, at)
    end
  end
  -- Tidying reads every entry, so it is done once per `stride` new ones.
  if math.floor(#value / 12 / stride) > math.floor(#before / 12 / stride) then
    value = tidy(value, spill, retained, many)
  end
  local changed = value ~= before
  for what, found in pairs(many) do
    local set = key .. ':' .. what
    local kind = redis.call('TYPE', set).ok
    if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', set) end
    if merge_many(set, found, cap, retained) then
      redis.call('PEXPIRE', set, ttl_ms)
      changed = true
    end
  end
  -- The entity must outlive its spilled sets: without its mark they would not be read.
  if changed then redis.call('SET', key, value, 'PX', ttl_ms) end
end
