-- Read entities. KEYS: entities. ARGV: cap, the three windows in buckets, then one string per entity: the bucket to
-- read as of (uint32) and asked members as entries (see counters.lua; their bucket is 0).
-- Answers per entity: false (unknown), 0 (not a value of ours), its value (the caller counts), or, where sets are
-- spilled, {value, counts of the spilled sets (what, three counts, 1 = estimate), entries of asked members found in them}.
local SPAN = 16777216
local cap = tonumber(ARGV[1])
local windows = {tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])}

local function count_many(key, as_of, newest)
  local top = nil
  local counts, estimate = {0, 0, 0}, 0
  for i, window in ipairs(windows) do
    local from = math.max(as_of - window, 0)
    local level, n = 0, 0
    while from <= newest do
      local base = level * SPAN
      n = redis.call('ZCOUNT', key, base + from, base + SPAN - 1)
      if n <= cap then break end
      if not top then
        local mark = redis.call('ZSCORE', key, '')
        top = mark and (-1 - tonumber(mark)) or 0
      end
      if level >= top then break end
      level = level + 1
    end
    if n > 0 and newest > as_of then
      n = n - redis.call('ZCOUNT', key, level * SPAN + as_of + 1, level * SPAN + SPAN - 1)
    end
    counts[i] = n * 2 ^ level
    if level > 0 then estimate = 1 end
  end
  return struct.pack('<I4I4I4B', counts[1], counts[2], counts[3], estimate)
end

local answers = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local value = redis.pcall('GET', key)
  if type(value) == 'table' or (value and #value % 12 ~= 0) then value = 0 end
  answers[i] = value
  if type(value) == 'string' and string.byte(value, 4) >= 128 then
    local asked = ARGV[4 + i]
    local as_of = struct.unpack('<I4', asked)
    local counts, found = {}, {}
    for p = 1, #value, 12 do
      local what = string.byte(value, p + 3) - 128
      if what < 0 then break end
      local set = key .. ':' .. what
      local newest = struct.unpack('<I4', value, p) % SPAN
      local kind = redis.call('TYPE', set).ok
      if kind ~= 'zset' and kind ~= 'none' then
        found = nil
        break
      end
      counts[#counts + 1] = string.char(what) .. count_many(set, as_of, newest)
      for q = 5, #asked, 12 do
        if string.byte(asked, q + 3) == what then
          local hash = string.sub(asked, q + 4, q + 11)
          local score = redis.call('ZSCORE', set, '\0' .. hash)
          if score then
            found[#found + 1] = struct.pack('<I4', what * SPAN + tonumber(score)) .. hash
          end
        end
      end
    end
    answers[i] = found and {value, table.concat(counts), table.concat(found)} or 0
  end
end
return answers
