-- Write a chunk: links, session values, watermark; only if the stored watermark equals the expected one.
-- KEYS: watermark, sessions, entities. ARGV: expected watermark up to and with its '|' ('' = none), new watermark,
-- number of sessions, their time to live (ms), the watermark's (ms), the sessions' values ('' removes the session);
-- then, only with entities, the arguments of link.lua.
-- The watermark is written last: an error on the way leaves the old one. Out of memory shows at the first write.
local found = redis.call('GET', KEYS[1])
if found == ARGV[2] then return {2, found} end
if ARGV[1] == '' then
  if found then return {0, found} end
elseif not found or string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then
  return {0, found or ''}
end
local sessions = tonumber(ARGV[3])
local options = 5 + sessions
if #KEYS > 1 + sessions then
  local cap, spill = tonumber(ARGV[options + 1]), tonumber(ARGV[options + 2])
  local stride, retained = tonumber(ARGV[options + 3]), tonumber(ARGV[options + 4])
  for i = 1, #KEYS - 1 - sessions do
    merge_links(KEYS[1 + sessions + i], ARGV[options + 5 + i], cap, spill, stride, retained, ARGV[options + 5])
  end
end
for i = 1, sessions do
  if ARGV[5 + i] == '' then
    redis.call('DEL', KEYS[1 + i])
  else
    redis.call('SET', KEYS[1 + i], ARGV[5 + i], 'PX', ARGV[4])
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[5])
return {1, ''}
