-- Changes an override or records a reset in one step: it checks the condition, increments the revision, remembers what
-- nodes and replicas may have missed, and writes the line.
--
-- KEYS[1]  counters (hash: revision, since, lines; count is the number of overrides at the revision `counted`)
-- KEYS[2]  notices (list, oldest first: revision I8, then 'd' and a consumer whose override was removed, or 'r' and a client)
-- KEYS[3]  overrides (hash: consumer -> revision I8, whether it is set B, the application's bytes)
-- KEYS[4]  audit log (list, newest first)
-- KEYS[5]  changes (list, oldest first: revision I8, microsecond I8, then 'c' and a consumer, or 'r' and a client)
-- ARGV[1]  'set', 'removed' or 'reset'
-- ARGV[2]  the consumer, or the client's 16 bytes
-- ARGV[3]  the override's bytes
-- ARGV[4]  the line
-- ARGV[5]  after how many bytes of the line to insert the previous override, or null; '' inserts nothing
-- ARGV[6]  the condition: '' for none, 'set' if there must be an override, a number if it must be of this revision
-- ARGV[7]  the most overrides
-- Returns the new revision, 0 if the condition does not hold, or -1 if there are too many overrides.

local call, pack, unpack = redis.call, struct.pack, struct.unpack
local what, whom, line = ARGV[1], ARGV[2], ARGV[4]

local counters = call('HMGET', KEYS[1], 'revision', 'count', 'counted')
local count = counters[3] and counters[3] == counters[1] and tonumber(counters[2]) or nil

if what ~= 'reset' then
  if not count then
    -- This is the first change, or one that follows those of a version that does not count.
    count = 0
    local rows = call('HGETALL', KEYS[3])
    for i = 2, #rows, 2 do if rows[i]:byte(9) == 1 then count = count + 1 end end
  end
  local row = call('HGET', KEYS[3], whom)
  local is_set = row and row:byte(9) == 1
  if ARGV[6] == 'set' and not is_set then return 0 end
  local wanted = tonumber(ARGV[6])
  if wanted and not (is_set and unpack('<I8', row) == wanted) then return 0 end
  if what == 'set' and not is_set and count >= tonumber(ARGV[7]) then return -1 end
  if ARGV[5] ~= '' then
    line = line:sub(1, ARGV[5]) .. (is_set and row:sub(10) or 'null') .. line:sub(ARGV[5] + 1)
  end
  count = count + (what == 'set' and 1 or 0) - (is_set and 1 or 0)
end

local revision = call('HINCRBY', KEYS[1], 'revision', 1)
if count then call('HSET', KEYS[1], 'count', count, 'counted', revision) end
local time = call('TIME')
call('HINCRBY', KEYS[1], 'lines', 1)
call('LPUSH', KEYS[4], line)
call('LTRIM', KEYS[4], 0, AUDIT_KEPT - 1)
call('RPUSH', KEYS[5], pack('<I8I8', revision, time[1] * 1000000 + time[2]) .. (what == 'reset' and CHANGED_RESET or CHANGED_OVERRIDE) .. whom)
call('LTRIM', KEYS[5], -CHANGES_REMEMBERED, -1)

if what == 'set' then
  call('HSET', KEYS[3], whom, pack('<I8B', revision, 1) .. ARGV[3])
elseif what == 'removed' then
  call('HSET', KEYS[3], whom, pack('<I8B', revision, 0))
  call('RPUSH', KEYS[2], pack('<I8', revision) .. CHANGED_REMOVAL .. whom)
else
  call('RPUSH', KEYS[2], pack('<I8', revision) .. CHANGED_RESET .. whom)
end

while call('LLEN', KEYS[2]) > NOTICES_REMEMBERED do
  local oldest = call('LPOP', KEYS[2])
  local since = unpack('<I8', oldest)
  call('HSET', KEYS[1], 'since', string.format('%.0f', since))
  if oldest:sub(9, 9) == CHANGED_REMOVAL then
    local consumer = oldest:sub(10)
    -- It stays if it was set again.
    if call('HGET', KEYS[3], consumer) == pack('<I8B', since, 0) then call('HDEL', KEYS[3], consumer) end
  end
end
return revision
