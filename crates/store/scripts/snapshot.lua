-- What has changed in a namespace's overrides and resets after a revision, or all of it, at one moment.
--
-- KEYS[1]  counters
-- KEYS[2]  notices
-- KEYS[3]  overrides
-- KEYS[4]  changes
-- ARGV[1]  the revision that is known, or '0'
-- ARGV[2]  when it was made, in microseconds
-- Returns the revision, when it was made, since, the revision that the rest starts from ('0' if it is everything), the
-- notices (only resets, if it is not everything), and pairs of consumer and override; see `change.lua`.

local call, pack, unpack = redis.call, struct.pack, struct.unpack
local counters = call('HMGET', KEYS[1], 'revision', 'since')
local revision, since = counters[1] or '0', counters[2] or '0'
local newest = call('LRANGE', KEYS[4], -1, -1)[1]
local at = '0'
if newest then
  local of, when = unpack('<I8I8', newest)
  if of == tonumber(revision) then at = string.format('%.0f', when) end
end

local missed = revision - ARGV[1]
if ARGV[1] ~= '0' and at ~= '0' and missed >= 0 then
  -- The first one is the change that is known, to see whether it is the same.
  local changes = call('LRANGE', KEYS[4], -missed - 1, -1)
  local of, when
  if #changes == missed + 1 then of, when = unpack('<I8I8', changes[1]) end
  if of == tonumber(ARGV[1]) and when == tonumber(ARGV[2]) then
    local notices, overrides, listed = {}, {}, {}
    for i = 2, #changes do
      local kind, whom = changes[i]:sub(17, 17), changes[i]:sub(18)
      if kind == CHANGED_RESET then
        notices[#notices + 1] = changes[i]:sub(1, 8) .. CHANGED_RESET .. whom
      elseif not listed[whom] then
        listed[whom] = true
        -- The removal may have been forgotten.
        local row = call('HGET', KEYS[3], whom) or pack('<I8B', unpack('<I8', changes[i]), 0)
        overrides[#overrides + 1] = {whom, row}
      end
    end
    return {revision, at, since, ARGV[1], notices, overrides}
  end
end

local fields = call('HGETALL', KEYS[3])
local overrides = {}
for i = 1, #fields, 2 do overrides[#overrides + 1] = {fields[i], fields[i + 1]} end
return {revision, at, since, '0', call('LRANGE', KEYS[2], 0, -1), overrides}
