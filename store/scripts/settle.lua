-- Account::settle, Account::charge and Account::reset for many clients at once. `account.lua` stands before it.
--
-- KEYS[1..n]      the clients' accounts (strings, see `unpack_account`); all in one slot where there is a cluster
-- KEYS[n+1..]     sets of the clients that have names (listings), those that entries point to
-- ARGV[1]         '' for the server's clock; a number of microseconds in tests
-- ARGV[2]         n
-- ARGV[3]         how many offers follow
-- ARGV[4..]       the offers: count of buckets B, 3 x (drain, weight, capacity) I8, has a month B, its quota I8, the tier's name
-- ARGV[..]        the n entries, see `entry` below
-- Returns the clock, then one packed string a client.
-- Integers are packed little-endian.

local CONSUMER_KEPT_MS = 34560000000

local ACCOUNT = '<BI8I8I8I8I8I8I8BI8HHHB'
local ACCOUNT_LENGTH = 73
local LOAN = '<c8I4I4I4I8I8I8HI8'
local LOAN_LENGTH = 54
local USAGE = '<HI8'
local USAGE_LENGTH = 10

-- Takes `value` apart; what comes back are its tier, name and quota, or nil where it is not an account.
local function unpack_account(value)
  if type(value) ~= 'string' or #value < ACCOUNT_LENGTH or value:byte(1) ~= 1 then return nil end
  local _, moment, w1, k1, w2, k2, w3, k3, has, monthly, tier, name, lent, months = unpack(ACCOUNT, value)
  local length = ACCOUNT_LENGTH + tier + name + lent * LOAN_LENGTH + months * USAGE_LENGTH
  if #value ~= length then return nil end
  at, works, weights, loans, usages = moment, {w1, w2, w3}, {k1, k2, k3}, {}, {}
  local place = ACCOUNT_LENGTH + 1 + tier + name
  for i = 1, lent do
    local node, low, high, seq, spent, lease, lost, month, ends = unpack(LOAN, value, place)
    loans[i] = {node = node, low = low, high = high, seq = seq, spent = spent, out = lease, lost = lost,
      month = month, ends = ends}
    place = place + LOAN_LENGTH
  end
  for i = 1, months do
    local month, milli = unpack(USAGE, value, place)
    usages[i] = {month, milli}
    place = place + USAGE_LENGTH
  end
  local text = ACCOUNT_LENGTH + 1
  tier, name = value:sub(text, text + tier - 1), value:sub(text + tier, text + tier + name - 1)
  return tier, has % 2 == 1 and name or nil, has >= 2 and monthly or nil
end

local function pack_account(tier, name, monthly)
  local has = (name and 1 or 0) + (monthly and 2 or 0)
  local parts = {
    pack(ACCOUNT, 1, at, works[1], weights[1], works[2], weights[2], works[3], weights[3], has, monthly or 0, #tier,
      name and #name or 0, #loans, #usages),
    tier, name or '',
  }
  for i = 1, #loans do
    local loan = loans[i]
    parts[#parts + 1] = pack(LOAN, loan.node, loan.low, loan.high, loan.seq, loan.spent, loan.out, loan.lost,
      loan.month, loan.ends)
  end
  for i = 1, #usages do parts[#parts + 1] = pack(USAGE, usages[i][1], usages[i][2]) end
  return table.concat(parts)
end

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
    holds = {div(c1, w1), div(c2, w2), div(c3, w3)}, quota = has == 1 and monthly or nil, tier = arg:sub(83)}
end
local month = month_of(now)
local from, ends = start_of(month), start_of(month + 1)

local answers = {string.format('%.0f', now)}
for i = 1, n do
  local arg = ARGV[3 + offer_count + i]
  -- What is to be done (0: lease, 1: charge, 2: reset), flags (1: stranger, 2: has a name; of a reset 4: bucket,
  -- 8: month), the offer's place, the place of the set of names.
  local what, flags, place, names = arg:byte(1, 4)
  local value = redis.pcall('GET', KEYS[i])
  local tier, name, monthly
  local is_sound = true
  if value then
    tier, name, monthly = unpack_account(value)
    is_sound = tier ~= nil
  else
    at, works, weights, loans, usages, tier = 0, {0, 0, 0}, {0, 0, 0}, {}, {}, ''
  end
  if not is_sound then
    answers[i + 1] = pack('<B', DAMAGED)
  elseif what == 2 then
    answers[i + 1] = pack('<B', ABSENT)
    if value then
      reset(flags % 8 >= 4, flags >= 8, now)
      call('SET', KEYS[i], pack_account(tier, name, monthly), 'KEEPTTL')
    end
  else
    local offer = offers[place]
    count, drains, offer_weights, capacities = offer.count, offer.drains, offer.weights, offer.capacities
    holds, quota = offer.holds, offer.quota
    advance(now)
    local this, this_ends = month, ends
    if at < from or at >= ends then
      this = month_of(at)
      this_ends = start_of(this + 1)
    end
    local text
    if what == 0 then
      local entry = {}
      entry.node, entry.low, entry.high, entry.seq, entry.spent, entry.turn, entry.month, entry.hold, entry.need,
        entry.want = unpack('<c8I4I4I4I8I8HI8I8I8', arg, 5)
      text = 67
      answers[i + 1] = settle(entry, now, this, this_ends)
    else
      text = 13
      answers[i + 1] = charge(unpack('<I8', arg, 5), this, this_ends)
    end
    if flags % 4 >= 2 then
      name = arg:sub(text)
      call('SADD', KEYS[n + names], KEYS[i]:sub(-32))
    end
    local kept = CONSUMER_KEPT_MS
    if flags % 2 == 1 then kept = math.max(div_ceil(less(forgettable_at(), at), 1000), 1) end
    call('SET', KEYS[i], pack_account(offer.tier, name, offer.quota), 'PX', string.format('%.0f', kept))
  end
end
return answers
