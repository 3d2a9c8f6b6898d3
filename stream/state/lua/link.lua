-- Write links of entities that share a hash tag (Redis Cluster; a standalone server does it in commit.lua).
-- KEYS: entities. ARGV: cap, spill, stride, retained buckets, time to live (ms), then one string of links per entity.
for i = 1, #KEYS do
  merge_links(
    KEYS[i], ARGV[5 + i], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
  )
end
return #KEYS
