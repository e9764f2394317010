-- Lines of a namespace's audit log, newest first.
--
-- KEYS[1]  counters
-- KEYS[2]  audit log
-- ARGV[1]  lines have numbers below this one; '' starts with the newest
-- ARGV[2]  the most lines
-- Returns the number of the first line, and the lines.

local lines = tonumber(redis.call('HGET', KEYS[1], 'lines') or 0)
local start = 0
if ARGV[1] ~= '' then start = math.max(lines - ARGV[1] + 1, 0) end
if tonumber(ARGV[2]) == 0 then return {0, {}} end
return {math.max(lines - start, 0), redis.call('LRANGE', KEYS[2], start, start + ARGV[2] - 1)}
