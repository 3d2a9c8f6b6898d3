-- Replace a partition's crash note, only if the stored one equals the expected one.
-- KEYS: note. ARGV: expected note ('' = none), new note ('' = remove it), time to live (ms).
-- Answers the note that is stored afterwards ('' = none), so that a repeat whose first answer was lost succeeds.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return ARGV[2]
