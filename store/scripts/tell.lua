-- A change of an override or a reset: counts the revision up, remembers what nodes may have missed, writes the line.
--
-- KEYS[1]  counters (hash: revision, since, lines)
-- KEYS[2]  news (list, oldest first: revision I8, then 'd' and a consumer whose override was removed, or 'r' and a client)
-- KEYS[3]  overrides (hash: consumer -> revision I8, whether it is set B, the application's bytes)
-- KEYS[4]  audit log (list, newest first)
-- ARGV[1]  'set', 'removed' or 'reset'
-- ARGV[2]  the consumer, or the client's 16 bytes
-- ARGV[3]  the override's bytes
-- ARGV[4]  the line
-- ARGV[5]  how many news are remembered
-- ARGV[6]  how many lines are kept
-- Returns the new revision.

local call, pack = redis.call, struct.pack
local revision = call('HINCRBY', KEYS[1], 'revision', 1)
call('HINCRBY', KEYS[1], 'lines', 1)
call('LPUSH', KEYS[4], ARGV[4])
call('LTRIM', KEYS[4], 0, ARGV[6] - 1)

if ARGV[1] == 'set' then
  call('HSET', KEYS[3], ARGV[2], pack('<I8B', revision, 1) .. ARGV[3])
elseif ARGV[1] == 'removed' then
  call('HSET', KEYS[3], ARGV[2], pack('<I8B', revision, 0))
  call('RPUSH', KEYS[2], pack('<I8', revision) .. 'd' .. ARGV[2])
else
  call('RPUSH', KEYS[2], pack('<I8', revision) .. 'r' .. ARGV[2])
end

while call('LLEN', KEYS[2]) > tonumber(ARGV[5]) do
  local oldest = call('LPOP', KEYS[2])
  local since = struct.unpack('<I8', oldest)
  call('HSET', KEYS[1], 'since', string.format('%.0f', since))
  if oldest:sub(9, 9) == 'd' then
    local consumer = oldest:sub(10)
    -- Unless something has been set since.
    if call('HGET', KEYS[3], consumer) == pack('<I8B', since, 0) then call('HDEL', KEYS[3], consumer) end
  end
end
return revision
