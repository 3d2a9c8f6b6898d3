-- Look up movements and keep them: each answer is what was under a key before the call's own entry.
-- KEYS: one for each cell of each movement. ARGV: bytes of an entry, bytes of its id, most bytes of a value, time to
-- live (ms), then an entry for each key ('' = look only). Of too many the oldest go; one that is there is kept once.
local size, id_size, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}
for i = 1, #KEYS do
  local before = redis.pcall('GET', KEYS[i])
  -- Nothing, or somebody else's value: nothing that could be compared is lost with it.
  if type(before) ~= 'string' or #before % size ~= 0 then before = '' end
  answers[i] = before
  local entry = ARGV[4 + i]
  if entry ~= '' then
    local id = string.sub(entry, 1, id_size)
    local at = string.find(before, id, 1, true)
    while at and (at - 1) % size ~= 0 do at = string.find(before, id, at + 1, true) end
    if not at then redis.call('SET', KEYS[i], string.sub(before .. entry, -most), 'PX', ARGV[4]) end
  end
end
return answers
