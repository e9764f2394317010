-- Changes who pays for a consumer, unless somebody else has changed it since it was read, and writes the line: one step.
--
-- KEYS[1]  counters (hash: lines)
-- KEYS[2]  audit log (list, newest first)
-- KEYS[3]  customers (hash: consumer -> its periods)
-- KEYS[4]  index (sorted set, all scores 0: a customer, a zero byte and a consumer; for every consumer once without a customer)
-- ARGV[1]  the consumer
-- ARGV[2]  the periods that were read, or '' for none
-- ARGV[3]  the periods to keep, or '' for none
-- ARGV[4]  the line
-- ARGV[5]  how many customers the consumer gets that it did not have
-- ARGV[6…] these customers, and then those that it no longer has
-- Returns 1, or 0 if other periods are kept.

local call = redis.call
local consumer, before, after = ARGV[1], ARGV[2], ARGV[3]
if (call('HGET', KEYS[3], consumer) or '') ~= before then return 0 end

-- These change nothing. Where the memory is full, or the user may not run them, the script ends here, with nothing done.
call('ZADD', KEYS[4], 'XX', 0, '')
call('ZREM', KEYS[4], '')

if after ~= '' then
  call('HSET', KEYS[3], consumer, after)
  call('ZADD', KEYS[4], 0, '\0' .. consumer)
else
  call('HDEL', KEYS[3], consumer)
  call('ZREM', KEYS[4], '\0' .. consumer)
end
local joined = tonumber(ARGV[5])
for i = 6, #ARGV do
  local entry = ARGV[i] .. '\0' .. consumer
  if i < 6 + joined then call('ZADD', KEYS[4], 0, entry) else call('ZREM', KEYS[4], entry) end
end
call('HINCRBY', KEYS[1], 'lines', 1)
call('LPUSH', KEYS[2], ARGV[4])
call('LTRIM', KEYS[2], 0, AUDIT_KEPT - 1)
return 1
