-- Account of src/lease/account.rs under the same names. Whoever changes one changes the other; a property test compares
-- them, state and answer, step by step. `settle.lua` follows in the same script; no KEYS and no ARGV here.
--
-- Every number is a whole one below 2^53, where Lua's are exact.

local EXACT = 4503599627370496
local LEASE_TTL = 10000000
local IDLE_MS, IDLE_SCARCE_MS = 5000, 500
local SHARE = 4
local UNIT = 1000
local REMEMBERED = 3024000000000
local MAX_LOANS = 256
local MONTHS_KEPT = 15
local CLOCK_SKEW = 1000000
local STANDING, STALE, DAMAGED, ABSENT = 0, 1, 2, 3

local pack, unpack, call = struct.pack, struct.unpack, redis.call

-- The account at hand, and the offer that it is settled by.
local at, works, weights, loans, usages
local count, drains, offer_weights, capacities, holds, quota

local function less(a, b)
  return a > b and a - b or 0
end

local function div(a, b)
  return (a - a % b) / b
end

local function div_ceil(a, b)
  a = a + b - 1
  return (a - a % b) / b
end

-- Months since January 1970, as in src/limit/calendar.rs; and where the month ends.
local DAY = 86400000000

local function days_of_years(years)
  return years * 365 + div(years, 4) - div(years, 100)
end

local function start_of(month)
  local months = month + 23638
  local year = div(months, 12)
  local day_of_year = div((months % 12) * 153 + 2, 5)
  return (div(year, 400) * 146097 + days_of_years(year % 400) + day_of_year - 719468) * DAY
end

local function month_of(micros)
  local day = div(micros, DAY) + 719468
  local era, day_of_era = div(day, 146097), day % 146097
  local leaps = div(day_of_era, 1460) - div(day_of_era, 36524) + div(day_of_era, 146096)
  local year = div(day_of_era - leaps, 365)
  local month = div((day_of_era - days_of_years(year)) * 5 + 2, 153)
  return less((era * 400 + year) * 12 + month + 2, 23640)
end

local function used(month)
  for i = 1, #usages do
    if usages[i][1] == month then return usages[i][2] end
  end
  return 0
end

local function use_up(month, milli)
  if milli == 0 then return end
  local place = #usages + 1
  for i = 1, #usages do
    local usage = usages[i]
    if usage[1] == month then
      usage[2] = math.min(usage[2] + milli, EXACT)
      return
    end
    if usage[1] > month then
      place = i
      break
    end
  end
  table.insert(usages, place, {month, math.min(milli, EXACT)})
  local newest = usages[#usages][1]
  while usages[1][1] + MONTHS_KEPT <= newest do table.remove(usages, 1) end
end

local function give_back(month, milli)
  for i = 1, #usages do
    if usages[i][1] == month then usages[i][2] = less(usages[i][2], milli) end
  end
end

local function spend(milli)
  for i = 1, count do
    local work = milli
    if work > holds[i] then work = holds[i] + 1 end
    work = works[i] + work * offer_weights[i]
    works[i] = work > capacities[i] and capacities[i] or work
  end
end

local function out()
  local sum = 0
  for i = 1, #loans do sum = sum + loans[i].out end
  return sum > EXACT and EXACT or sum
end

local function room(i, lent)
  if lent > holds[i] then lent = holds[i] + 1 end
  return less(less(capacities[i], works[i]), lent * offer_weights[i])
end

local function left(month, lent)
  local least = EXACT
  for i = 1, count do
    local milli = div(room(i, lent), offer_weights[i])
    if milli < least then least = milli end
  end
  if quota then
    local milli = less(less(quota, used(month)), lent)
    if milli < least then least = milli end
  end
  return least
end

local function lose(loan)
  spend(loan.out)
  use_up(loan.month, loan.out)
  loan.lost = math.min(loan.lost + loan.out, EXACT)
  loan.out = 0
end

local function advance(now)
  local moment = now
  if at > now and at - now <= CLOCK_SKEW then moment = at end
  local elapsed = less(moment, at)
  for i = 1, count do
    local work, weight = works[i], offer_weights[i]
    if weights[i] ~= weight then
      local milli = 0
      if weights[i] ~= 0 then milli = div_ceil(work, weights[i]) end
      if milli > holds[i] then milli = holds[i] end
      work = milli * weight
      weights[i] = weight
    end
    local drained = elapsed * drains[i]
    if drained >= work then
      work = 0
    else
      work = work - drained
      if work > capacities[i] then work = capacities[i] end
    end
    works[i] = work
  end
  at = moment
  for i = 1, #loans do
    local loan = loans[i]
    if loan.out > 0 and loan.ends <= moment then lose(loan) end
  end
  for i = #loans, 1, -1 do
    local loan = loans[i]
    if loan.out == 0 and less(moment, loan.ends) >= REMEMBERED then table.remove(loans, i) end
  end
end

-- The loan of the entry's node, made if there is none; nil for a message that is older than it.
local function loan_of(entry)
  local loan, place
  for i = 1, #loans do
    if loans[i].node == entry.node then
      loan, place = loans[i], i
      break
    end
  end
  local fresh = {node = entry.node, low = entry.low, high = entry.high,
    seq = 0, spent = 0, out = 0, lost = 0, month = 0, ends = 0}
  if not loan then
    if #loans >= MAX_LOANS then
      local oldest
      for i = 1, #loans do
        if loans[i].out == 0 and (not oldest or loans[i].ends < loans[oldest].ends) then oldest = i end
      end
      if not oldest then return nil end
      table.remove(loans, oldest)
    end
    loans[#loans + 1] = fresh
    return fresh
  end
  local is_same = entry.high == loan.high and entry.low == loan.low
  local is_older = entry.high < loan.high or (entry.high == loan.high and entry.low < loan.low)
  if is_older or (is_same and entry.seq < loan.seq) then return nil end
  if not is_same then
    lose(loan)
    loans[place] = fresh
    return fresh
  end
  return loan
end

local function report(loan, entry, month)
  local spent = entry.spent
  local delta = less(spent, loan.spent)
  local from_lease = math.min(delta, loan.out)
  local without = delta - from_lease
  local current = month
  if entry.month ~= 0 and entry.month < month then current = entry.month end
  local before = math.min(less(math.min(entry.turn, spent), loan.spent), delta)
  local after = delta - before
  local known_before, known_after = 0, 0
  if loan.month < current then
    known_before = math.min(loan.lost, without, before)
  else
    known_after = math.min(loan.lost, without, after)
  end
  local known = math.max(known_before, known_after)
  spend(delta - known)
  use_up(less(current, 1), before - known_before)
  use_up(current, after - known_after)
  give_back(loan.month, loan.lost - known)
  loan.lost = 0
  loan.spent = math.max(loan.spent, spent)
  loan.out = math.min(loan.out - from_lease, entry.hold)
end

-- Flags (1, 2, 4: limits; 8: month; 16: never; 128: refused at all) and the wait.
local function refusal(milli, month, ends, lent)
  local flags, wait, never = 128, 0, false
  for i = 1, count do
    if milli > holds[i] then
      flags, never = flags + 2 ^ (i - 1), true
    else
      local missing = less(milli * offer_weights[i], room(i, lent))
      if missing > 0 then
        flags = flags + 2 ^ (i - 1)
        wait = math.max(wait, div_ceil(missing, drains[i]))
      end
    end
  end
  if quota then
    never = never or milli > quota
    if milli > less(less(quota, used(month)), lent) then
      flags = flags + 8
      wait = math.max(wait, less(ends, at))
    end
  end
  if never then flags = flags + 16 end
  return flags, wait
end

local function is_scarce(month, lent)
  for i = 1, count do
    if room(i, lent) < div(capacities[i], 4) then return true end
  end
  return quota and less(less(quota, used(month)), lent) < math.max(lent * 8, div(quota, 64))
end

local function standing(month, spent, hold, ttl, idle, flags, wait)
  local taken = {0, 0, 0}
  for i = 1, count do taken[i] = div_ceil(works[i], offer_weights[i]) end
  return pack('<BI8I8I4I4I8I8I8HI8BI8', STANDING, spent, hold, ttl, idle, taken[1], taken[2], taken[3],
    month, used(month), flags, wait)
end

local function settle(entry, now, month, ends)
  local loan = loan_of(entry)
  if not loan then return pack('<B', STALE) end
  local is_repeated = loan.seq == entry.seq and loan.ends > 0
  local flags, wait = 0, 0
  if not is_repeated then report(loan, entry, month) end
  local lent = out()
  local rest = left(month, lent)
  local missing = less(entry.need, loan.out)
  if missing > rest then flags, wait = refusal(missing, month, ends, lent) end
  if not is_repeated then
    if missing <= rest then
      local wish = less(entry.want, loan.out + missing)
      local share = div(div(rest - missing, SHARE), UNIT) * UNIT
      loan.out = math.min(loan.out + missing + math.min(wish, share), EXACT)
    end
    loan.month = month
    loan.ends = math.min(at + LEASE_TTL, ends)
  end
  loan.seq = entry.seq
  local ttl = math.min(div(less(loan.ends, at), 1000), 4294967295)
  local idle = is_scarce(month, out()) and IDLE_SCARCE_MS or IDLE_MS
  return standing(month, loan.spent, loan.out, ttl, idle, flags, wait)
end

local function charge(cost, month, ends)
  local lent = out()
  local flags, wait = 0, 0
  if cost <= left(month, lent) then
    spend(cost)
    use_up(month, cost)
  else
    flags, wait = refusal(cost, month, ends, lent)
  end
  return standing(month, 0, 0, 0, 0, flags, wait)
end

local function reset(bucket, month, now)
  if bucket then works, weights = {0, 0, 0}, {0, 0, 0} end
  if not month then return end
  local turned = month_of(math.max(now, at))
  for i = #usages, 1, -1 do
    if usages[i][1] == turned then table.remove(usages, i) end
  end
end

local function forgettable_at()
  local moment
  for i = 1, count do
    local drained = at + div(works[i], drains[i]) + 1
    if not moment or drained > moment then moment = drained end
  end
  for i = 1, #loans do
    local ended = loans[i].ends + LEASE_TTL
    if not moment or ended > moment then moment = ended end
  end
  return moment or at
end
