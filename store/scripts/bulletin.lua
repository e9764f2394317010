-- All overrides and recent resets of a namespace, as they stand together.
--
-- KEYS[1]  counters
-- KEYS[2]  news
-- KEYS[3]  overrides
-- No ARGV. Returns revision, since, the news, and pairs of consumer and override; see `tell.lua`.

local counters = redis.call('HMGET', KEYS[1], 'revision', 'since')
local fields = redis.call('HGETALL', KEYS[3])
local overrides = {}
for i = 1, #fields, 2 do overrides[#overrides + 1] = {fields[i], fields[i + 1]} end
return {counters[1] or '0', counters[2] or '0', redis.call('LRANGE', KEYS[2], 0, -1), overrides}
