-- Account::apply, Account::charge and Account::reset for many clients at once. `account.lua` stands before it.
--
-- KEYS[1..n]      the clients' accounts (strings, see docs/redis-keys.md), each once; all in one slot if there is a cluster
-- KEYS[n+1..]     the sets of clients with names that the entries point to
-- ARGV[1]         '' for the server's clock; in tests a number of microseconds
-- ARGV[2]         n
-- ARGV[3]         the number of offers
-- ARGV[4..]       the offers: count of buckets B, 3 x (drain, weight, capacity) I8, then the description that accounts
--                 keep: whether there is a quota B, the quota I8, the tier's name
-- ARGV[..]        the n entries: what is asked for B (ASK_...); flags B (ANONYMOUS, NAMED, or of a reset RESET_...);
--                 the offer's place B; the place of the set of names B; then LEASE, with what came back and its age I8 for
--                 ASK_RETURN, or the cost I8, or nothing; then the name
-- Returns the clock, then one packed string per client. Its first byte is GRANTED, STALE, DAMAGED or ABSENT.
-- Integers are packed little-endian.

local OFFER_LENGTH = 73

local LEASE = '<c8I4I4I4I8I8I8HI8I8I8I8I8I8I8'
-- Version, count of levels plus HAS_NAME, HAS_FLOORS and WAS_REFILLED, moment, lengths of description and name, counts of nodes and months.
local HEAD = '<BBI8HHHB'
local HEAD_LENGTH = 17
-- The work of an empty bucket is negative: how long it has been empty.
local LEVEL, LEVEL_LENGTH = '<i8I4I4', 16
local LOAN, LOAN_LENGTH = '<c8I4I4I4I8I8I8HI8', 54
local USAGE, USAGE_LENGTH = '<HI8', 10
-- If something once came back to a bucket, the levels' floors follow, and after a reset its moment, for a while.
local FLOORS, FLOORS_LENGTH = '<I8I8I8', 24
local REFILLED, REFILLED_LENGTH = '<I8', 8
local USUAL = '<BBI8HHHBi8I4I4c0c0c8I4I4I4I8I8I8HI8HI8HI8'
local byte, sub = string.byte, string.sub

-- Unpacks `value` into the current account. Returns its description and its name, or nil if it is no account.
local function unpack_account(value)
  if #value < HEAD_LENGTH or byte(value) ~= ACCOUNT_VERSION then return nil end
  local _, has, moment, description, name, lent, months = unpack(HEAD, value)
  local was_refilled = has >= WAS_REFILLED
  if was_refilled then has = has - WAS_REFILLED end
  local has_floors = has >= HAS_FLOORS
  if has_floors then has = has - HAS_FLOORS end
  local levels = has % HAS_NAME
  local length = HEAD_LENGTH + levels * LEVEL_LENGTH + description + name + lent * LOAN_LENGTH + months * USAGE_LENGTH
  if has_floors then length = length + FLOORS_LENGTH end
  local floors_end = length
  if was_refilled then length = length + REFILLED_LENGTH end
  if #value ~= length or levels > 3 or has >= 2 * HAS_NAME or (has < HAS_NAME and name > 0) then return nil end
  at, loans, usages, moves = moment, lent, months, 0
  local place = HEAD_LENGTH + 1
  for i = 1, levels do
    local work
    work, weights[i], level_drains[i] = unpack(LEVEL, value, place)
    works[i], idles[i] = max(work, 0), max(-work, 0)
    place = place + LEVEL_LENGTH
  end
  for i = levels + 1, 3 do works[i], weights[i], level_drains[i], idles[i] = 0, 0, 0, 0 end
  floors[1], floors[2], floors[3] = 0, 0, 0
  if has_floors then floors[1], floors[2], floors[3] = unpack(FLOORS, value, floors_end - FLOORS_LENGTH + 1) end
  refilled = was_refilled and unpack(REFILLED, value, floors_end + 1) or 0
  local text = place
  place = place + description + name
  for i = 1, lent do
    nodes[i], lows[i], highs[i], seqs[i], spents[i], lents[i], forfeits[i], loan_days[i], loan_ends[i] =
      unpack(LOAN, value, place)
    place = place + LOAN_LENGTH
  end
  for i = 1, months do
    periods[i], useds[i] = unpack(USAGE, value, place)
    place = place + USAGE_LENGTH
  end
  local names = text + description
  return sub(value, text, names - 1), has >= HAS_NAME and sub(value, names, names + name - 1) or nil
end

local function start_account()
  at, refilled, loans, usages, moves = 0, 0, 0, 0, 0
  for i = 1, 3 do works[i], weights[i], level_drains[i], idles[i], floors[i] = 0, 0, 0, 0, 0 end
end

local function pack_loan(i)
  return pack(LOAN, nodes[i], lows[i], highs[i], seqs[i], spents[i], lents[i], forfeits[i], loan_days[i], loan_ends[i])
end

local function signed(i)
  return works[i] > 0 and works[i] or -idles[i]
end

local function pack_account(description, name)
  local levels = 3
  while levels > 0 and weights[levels] == 0 do levels = levels - 1 end
  local has, length = levels + (name and HAS_NAME or 0), name and #name or 0
  local has_floors = floors[1] + floors[2] + floors[3] > 0
  if has_floors then has = has + HAS_FLOORS end
  if refilled > 0 then has = has + WAS_REFILLED end
  if not has_floors and refilled == 0 and levels == 1 and loans == 1 and usages == 2 then
    -- Almost every account looks like this, so it is packed by one call.
    return pack(USUAL, ACCOUNT_VERSION, has, at, #description, length, 1, 2, signed(1), weights[1], level_drains[1], description, name or '', nodes[1],
      lows[1], highs[1], seqs[1], spents[1], lents[1], forfeits[1], loan_days[1], loan_ends[1], periods[1], useds[1], periods[2], useds[2])
  end
  local parts = {pack(HEAD, ACCOUNT_VERSION, has, at, #description, length, loans, usages)}
  for i = 1, levels do parts[#parts + 1] = pack(LEVEL, signed(i), weights[i], level_drains[i]) end
  parts[#parts + 1] = description
  parts[#parts + 1] = name or ''
  for i = 1, loans do parts[#parts + 1] = pack_loan(i) end
  for i = 1, usages do parts[#parts + 1] = pack(USAGE, periods[i], useds[i]) end
  if has_floors then parts[#parts + 1] = pack(FLOORS, floors[1], floors[2], floors[3]) end
  if refilled > 0 then parts[#parts + 1] = pack(REFILLED, refilled) end
  return table.concat(parts)
end

-- Adds what concerns earlier days to what is kept of them: a string for each month, with 8 bytes for each day of it. Its key is
-- the account's with `u`, and the month. It is in the account's slot, and no caller knows the month before.
local function keep_moved(key, now)
  for i = 1, moves do
    local month = month_of_day(moved_days[i])
    local ends = start_of(month + 1 + MONTHS_KEPT)
    if ends > now then
      local place = moved_days[i] - start_of(month) / DAY
      local days = 'tollgate:u' .. sub(key, 11) .. ':' .. month
      local value = redis.call('GET', days) or ''
      value = value .. string.rep('\0', (place + 1) * 8 - #value)
      local milli = min(max(unpack('<I8', value, place * 8 + 1) + moved[i], 0), EXACT)
      value = sub(value, 1, place * 8) .. pack('<I8', milli) .. sub(value, place * 8 + 9)
      redis.call('SET', days, value, 'PX', string.format('%.0f', div_ceil(ends - now, 1000)))
    end
  end
  moves = 0
end

local function apply_all(KEYS, ARGV)
  local call = redis.call
  local now
  if ARGV[1] == '' then
    local time = call('TIME')
    now = time[1] * 1000000 + time[2]
  else
    now = tonumber(ARGV[1])
  end
  local n, offer_count = tonumber(ARGV[2]), tonumber(ARGV[3])
  local offers = {}
  for i = 1, offer_count do
    local arg = ARGV[3 + i]
    local buckets, d1, w1, c1, d2, w2, c2, d3, w3, c3, has, monthly = unpack('<BI8I8I8I8I8I8I8I8I8BI8', arg)
    offers[i] = {count = buckets, drains = {d1, d2, d3}, weights = {w1, w2, w3}, capacities = {c1, c2, c3},
      holds = {div(c1, w1), div(c2, w2), div(c3, w3)}, quota = has == 1 and monthly or nil,
      description = sub(arg, OFFER_LENGTH + 1)}
  end
  local month = month_of(now)
  local from, ends = start_of(month), start_of(month + 1)

  local accounts = {}
  for i = 1, n do accounts[i] = KEYS[i] end
  accounts = call('MGET', table_unpack(accounts))

  local answers = {string.format('%.0f', now)}
  for i = 1, n do
    local arg = ARGV[3 + offer_count + i]
    local what, flags, place, names = byte(arg, 1, 4)
    local value = accounts[i]
    local description, name = '', nil
    if value then
      description, name = unpack_account(value)
    else
      start_account()
      -- MGET returns nil for a key that is not a string.
      if call('EXISTS', KEYS[i]) == 1 then description = nil end
    end
    if not description then
      answers[i + 1] = pack('<B', DAMAGED)
    elseif what == ASK_RESET then
      answers[i + 1] = pack('<B', ABSENT)
      if value then
        reset(flags % (2 * RESET_BUCKET) >= RESET_BUCKET, flags >= RESET_MONTH, now)
        call('SET', KEYS[i], pack_account(description, name), 'KEEPTTL')
      end
    else
      local offer = offers[place]
      count, drains, offer_weights, capacities = offer.count, offer.drains, offer.weights, offer.capacities
      holds, quota = offer.holds, offer.quota
      local before = at
      advance(now)
      local this, this_ends = month, ends
      if at < from or at >= ends then
        this = month_of(at)
        this_ends = start_of(this + 1)
      end
      local text
      if what == ASK_LEASE or what == ASK_RETURN then
        node, low, high, seq, spent, acked, spent_before_day, said_day, hold, need, queued, want, sinces[1], sinces[2],
          sinces[3], text = unpack(LEASE, arg, 5)
        returned, returned_age = 0, 0
        if what == ASK_RETURN then returned, returned_age, text = unpack('<I8I8', arg, text) end
        answers[i + 1] = apply(this, this_ends)
      else
        local cost
        cost, text = unpack('<I8', arg, 5)
        answers[i + 1] = charge(cost, this, this_ends)
      end
      if flags % (2 * NAMED) >= NAMED then
        -- An account with a name has its client in the set. The client is added again once a day, in case the set was
        -- lost.
        if not name or div(before, DAY) ~= div(at, DAY) then call('SADD', KEYS[n + names], sub(KEYS[i], -32)) end
        name = sub(arg, text)
      end
      local packed = pack_account(offer.description, name)
      if flags % (2 * ANONYMOUS) >= ANONYMOUS then
        moves = 0
        local kept = max(div_ceil(less(forgettable_at(), at), 1000), 1)
        call('SET', KEYS[i], packed, 'PX', string.format('%.0f', kept))
      elseif div(before, DAY) == div(at, DAY) and moves == 0 then
        -- Setting an expiry costs as much as setting the value.
        call('SET', KEYS[i], packed, 'KEEPTTL')
      else
        call('SET', KEYS[i], packed, 'PX', string.format('%.0f', CONSUMER_KEPT_MS))
        if moves > 0 then keep_moved(KEYS[i], now) end
      end
    end
  end
  return answers
end
