-- Account::reserve and Reservation::settle for one client. `account.lua` and `apply.lua` stand before it.
--
-- KEYS[1]  the client's account
-- KEYS[2]  the reservation (string, see docs/redis-keys.md)
-- KEYS[3]  for ASK_RESERVE the client's count of reservations (string: pairs of a minute I4 and a number I4)
-- KEYS[4]  for ASK_RESERVE the set of clients with names
-- ARGV[1]  '' for the server's clock; in tests a number of microseconds
-- ARGV[2]  ASK_RESERVE or ASK_SETTLE B, the cost I8, how long it may be settled I8
-- ARGV[3]  for ASK_RESERVE the offer, as for `apply.lua`
-- ARGV[4]  for ASK_RESERVE the client's name
-- ARGV[5]  for ASK_RESERVE the application's bytes
-- Returns a first byte, and what follows it: GRANTED or REPEATED, the reservation; DENIED, the moment I8 and the answer of
-- a charge; TOO_MANY, ABSENT or DAMAGED, nothing. All keys are in one slot.

-- Version, moment, cost, until when it may be settled, lengths of the offer and of the application's bytes. These follow, then
-- the answer of the charge, and once it is settled the moment, the cost and the answer of that.
local RESERVATION, RESERVATION_LENGTH = '<BI8I8I8HH', 29
-- The length of a charge's answer, and where in it the flags of a refusal are.
local GRANT_LENGTH, GRANT_FLAGS = 68, 60

-- Makes the packed `offer` the one that applies to the account. Returns what accounts keep of it.
local function apply_offer(offer)
  local has
  drains, offer_weights, capacities, holds = {}, {}, {}, {}
  count, drains[1], offer_weights[1], capacities[1], drains[2], offer_weights[2], capacities[2], drains[3], offer_weights[3],
    capacities[3], has, quota = unpack('<BI8I8I8I8I8I8I8I8I8BI8', offer)
  for i = 1, count do holds[i] = div(capacities[i], offer_weights[i]) end
  if has ~= 1 then quota = nil end
  return sub(offer, OFFER_LENGTH + 1)
end

-- Makes `value` the current account, at `now`. Returns its description, its name, the moment that it had and the month; or
-- nil if it is no account.
local function begin(key, value, now)
  local description, name = '', nil
  if value then
    description, name = unpack_account(value)
    if not description then return nil end
  else
    -- MGET returns nil for a key that is not a string.
    if redis.call('EXISTS', key) == 1 then return nil end
    start_account()
  end
  local before = at
  advance(now)
  return description, name, before, month_of(at)
end

local function keep_account(key, description, name, before, now)
  local packed = pack_account(description, name)
  if div(before, DAY) == div(at, DAY) and moves == 0 then
    redis.call('SET', key, packed, 'KEEPTTL')
  else
    redis.call('SET', key, packed, 'PX', string.format('%.0f', CONSUMER_KEPT_MS))
    keep_moved(key, now)
  end
end

local function keep_until(key, value, moment, now)
  redis.call('SET', key, value, 'PX', string.format('%.0f', max(div_ceil(less(moment, now), 1000), 1)))
end

-- Counts one more that is forgotten at `moment`. Returns the new counts and when they are all over, or nil if there are too
-- many already.
local function count_one(counts, moment, now)
  local minute, sum, is_counted, parts = div_ceil(moment, MINUTE), 0, false, {}
  local last = minute
  for place = 1, #counts, 8 do
    local known, number = unpack('<I4I4', counts, place)
    if known * MINUTE > now then
      sum = sum + number
      if known == minute then
        number, is_counted = number + 1, true
      end
      last = max(last, known)
      parts[#parts + 1] = pack('<I4I4', known, number)
    end
  end
  if sum >= MAX_RESERVATIONS then return nil end
  if not is_counted then parts[#parts + 1] = pack('<I4I4', minute, 1) end
  return table.concat(parts), last * MINUTE
end

local function reserve(KEYS, ARGV, value, now, cost, ttl)
  local offer, context = ARGV[3], ARGV[5]
  local kept = apply_offer(offer)
  local description, name, before, month = begin(KEYS[1], value, now)
  if not description then return pack('<B', DAMAGED) end
  local expires = at + ttl
  local counts, over = count_one(redis.call('GET', KEYS[3]) or '', expires + LATE, now)
  if not counts then return pack('<B', TOO_MANY) end
  local answer = charge(cost, month, start_of(month + 1))
  if not name or div(before, DAY) ~= div(at, DAY) then redis.call('SADD', KEYS[4], sub(KEYS[1], -32)) end
  keep_account(KEYS[1], kept, ARGV[4], before, now)
  if byte(answer, GRANT_FLAGS) > 0 then return pack('<BI8', DENIED, at) .. answer end
  local reservation = pack(RESERVATION, RESERVATION_VERSION, at, cost, expires, #offer, #context) .. offer .. context .. answer
  keep_until(KEYS[2], reservation, expires + LATE, now)
  keep_until(KEYS[3], counts, over, now)
  return pack('<B', GRANTED) .. reservation
end

local function settle_with(KEYS, value, reservation, now, cost)
  local _, reserved_at, first, expires, offer, context = unpack(RESERVATION, reservation)
  if #reservation > RESERVATION_LENGTH + offer + context + GRANT_LENGTH then return pack('<B', REPEATED) .. reservation end
  if expires <= now then return pack('<B', ABSENT) end
  local kept = apply_offer(sub(reservation, RESERVATION_LENGTH + 1, RESERVATION_LENGTH + offer))
  local description, name, before, month = begin(KEYS[1], value, now)
  if not description then return pack('<B', DAMAGED) end
  local answer = settle(first, cost, reserved_at, month)
  reservation = reservation .. pack('<I8I8', at, cost) .. answer
  -- An account that has gone begins anew, in the tier of the reservation.
  keep_account(KEYS[1], description ~= '' and description or kept, name, before, now)
  redis.call('SET', KEYS[2], reservation, 'KEEPTTL')
  return pack('<B', GRANTED) .. reservation
end

local function reserve_or_settle(KEYS, ARGV)
  local now
  if ARGV[1] == '' then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  else
    now = tonumber(ARGV[1])
  end
  local what, cost, ttl = unpack('<BI8I8', ARGV[2])
  local values = redis.call('MGET', KEYS[1], KEYS[2])
  local value, reservation = values[1], values[2]
  if reservation then
    if byte(reservation) ~= RESERVATION_VERSION or #reservation < RESERVATION_LENGTH then return pack('<B', DAMAGED) end
    local _, _, _, expires = unpack(RESERVATION, reservation)
    if expires + LATE <= now then reservation = nil end
  end
  if what == ASK_RESERVE then
    if reservation then return pack('<B', REPEATED) .. reservation end
    return reserve(KEYS, ARGV, value, now, cost, ttl)
  end
  if not reservation then return pack('<B', ABSENT) end
  return settle_with(KEYS, value, reservation, now, cost)
end
