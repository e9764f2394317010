-- The account of src/accounts.rs, under the same names. A change to one has to be made to the other, too; a property
-- test compares the answers and the states of both, step by step. `apply.lua` follows in the same script.
-- Constants in capitals that are not defined here get their values from src/backend/redis/lua.rs. There are no KEYS and
-- no ARGV here.
--
-- Every number is an integer below 2^53, so Lua's numbers are exact.

local table_unpack = unpack
local pack, unpack, min, max = struct.pack, struct.unpack, math.min, math.max

-- The current account. There is one table per field and not one per loan, and the next account of the batch uses the
-- same tables, because making tables would cost the most here. Entries beyond the counts are left over from earlier
-- accounts.
local at, refilled
local works, weights, level_drains, idles, floors = {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}
local loans = 0
local nodes, lows, highs, seqs, spents, lents, forfeits, loan_days, loan_ends = {}, {}, {}, {}, {}, {}, {}, {}, {}
local LOAN_FIELDS = {nodes, lows, highs, seqs, spents, lents, forfeits, loan_days, loan_ends}
local usages = 0
local periods, useds = {}, {}

-- What concerns days that the account does not keep, until it is added to them.
local moves = 0
local moved_days, moved = {}, {}

-- The offer that applies to the account.
local count, drains, offer_weights, capacities, holds, quota

-- What the account's node says.
local node, low, high, seq, spent, acked, spent_before_day, said_day, hold, need, queued, want
local sinces = {0, 0, 0}
local returned, returned_age

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

-- Months since January 1970, as in calendar.rs of tollgate-core, and where a month begins.
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

local function day_of(micros)
  return min(div(micros, DAY), 65535)
end

local memo_day, memo_month

local function month_of_day(day)
  if day ~= memo_day then memo_day, memo_month = day, month_of(day * DAY) end
  return memo_month
end

-- The usage, as in src/accounts/usage.rs.
local function used(period)
  for i = usages, 1, -1 do
    if periods[i] == period then return useds[i] end
  end
  return 0
end

-- Entries beyond the counts stay, so that no list grows from account to account. `table.insert` would keep shifting
-- them.
local function remove_usage(place)
  for i = place, usages - 1 do periods[i], useds[i] = periods[i + 1], useds[i + 1] end
  usages = usages - 1
end

local function move_to(day, milli)
  if milli == 0 or day < FIRST_DAY then return end
  moves = moves + 1
  moved_days[moves], moved[moves] = day, milli
end

local function add(period, milli)
  for i = usages, 1, -1 do
    if periods[i] == period then
      useds[i] = min(useds[i] + milli, EXACT)
      return
    end
  end
  if period >= FIRST_DAY and usages > 0 and periods[usages] >= FIRST_DAY then
    move_to(periods[usages], useds[usages])
    usages = usages - 1
  end
  local place = usages + 1
  while place > 1 and periods[place - 1] > period do
    periods[place], useds[place] = periods[place - 1], useds[place - 1]
    place = place - 1
  end
  periods[place], useds[place] = period, min(milli, EXACT)
  usages = usages + 1
  local last = usages
  while last > 0 and periods[last] >= FIRST_DAY do last = last - 1 end
  local newest = last > 0 and periods[last] or 0
  while usages > 0 and periods[1] + MONTHS_KEPT <= newest do remove_usage(1) end
end

local function use_up(day, milli)
  if milli == 0 then return end
  add(month_of_day(day), milli)
  if day < FIRST_DAY then return end
  if day < periods[usages] then
    move_to(day, milli)
  else
    add(day, milli)
  end
end

local function give_back_of_month(month, milli)
  if milli == 0 then return end
  for i = 1, usages do
    if periods[i] == month then useds[i] = less(useds[i], milli) end
  end
end

local function give_back_of_day(day, milli)
  if milli == 0 then return end
  if periods[usages] == day then
    useds[usages] = less(useds[usages], milli)
  else
    move_to(day, -milli)
  end
end

local function give_back(day, milli)
  if milli == 0 then return end
  give_back_of_month(month_of_day(day), milli)
  give_back_of_day(day, milli)
end

-- The levels, as in src/accounts/level.rs.
-- Whether the level at `place` is in the units of the offer's bucket i.
local function is_kept_for(place, i)
  return weights[place] == offer_weights[i] and level_drains[place] == drains[i]
end

local function is_of(i)
  return is_kept_for(i, i)
end

local function milli_of(i)
  return weights[i] == 0 and 0 or div_ceil(works[i], weights[i])
end

-- Whether level i drains faster than the offer's bucket. Products could be too large to be exact; products of
-- remainders are not.
local function is_faster(i)
  local theirs, ours = div(level_drains[i], weights[i]), div(drains[i], offer_weights[i])
  if theirs ~= ours then return theirs > ours end
  return level_drains[i] % weights[i] * offer_weights[i] > drains[i] % offer_weights[i] * weights[i]
end

local function become_of(i)
  if is_of(i) then return end
  local milli = milli_of(i)
  if milli > holds[i] and (is_faster(i) or milli > div(EXACT, offer_weights[i])) then return end
  works[i], weights[i], level_drains[i], idles[i] = milli * offer_weights[i], offer_weights[i], drains[i], 0
  floors[i] = min(floors[i], 1)
end

local function until_fits(i)
  local most = is_of(i) and capacities[i] or holds[i] * weights[i]
  return div_ceil(less(works[i], most), max(level_drains[i], 1))
end

local function until_empty(i)
  local rest = is_of(i) and 0 or div_ceil(capacities[i], drains[i])
  return div_ceil(works[i], max(level_drains[i], 1)) + rest
end

local function is_within(i)
  return is_of(i) and works[i] <= capacities[i]
end

-- `first`, `second` and `third` say when the spending happened: 0 is now, 1 is earlier, anything else is Poured::Until.
local function fill(milli, lent, first, second, third)
  for i = 1, count do
    if not is_within(i) then
      works[i] = min(works[i] + lent * weights[i], EXACT)
    elseif milli > 0 then
      local poured = i == 1 and first or i == 2 and second or third
      if poured == 0 then idles[i] = 0 end
      local work = milli
      if work > holds[i] then
        local rest = milli - holds[i]
        local time = LONGEST_EMPTY
        if rest <= div(EXACT, offer_weights[i]) then time = div_ceil(rest * offer_weights[i], drains[i]) end
        idles[i] = less(idles[i], time)
        work = holds[i] + 1
      end
      work = work * offer_weights[i]
      local most = works[i] + work
      local drained = idles[i]
      if drained > 0 then
        drained = min(drained, div_ceil(work, drains[i]))
        idles[i] = idles[i] - drained
      end
      work = works[i] + less(work, drained * drains[i])
      if poured > 1 then
        local until_empty = min(less(poured, LONGEST_EMPTY), div_ceil(capacities[i], drains[i]))
        work = max(work, min(until_empty * drains[i], most))
        idles[i] = min(idles[i], less(LONGEST_EMPTY, poured))
      end
      if work > capacities[i] then work = capacities[i] end
      works[i] = work
      if work > 0 then idles[i] = 0 end
    end
  end
end

local function take_back_of_usage(day, milli, age)
  if milli == 0 then return end
  local month = month_of_day(day)
  local of_month = min(milli, used(month))
  give_back_of_month(month, of_month)
  if less(at, start_of(month)) < age then give_back_of_month(less(month, 1), milli - of_month) end
  local newest = usages > 0 and periods[usages] or 0
  local of_day = milli
  if day >= newest then of_day = day == newest and min(milli, useds[usages]) or 0 end
  give_back_of_day(day, of_day)
  if less(at, day * DAY) < age then give_back_of_day(less(day, 1), milli - of_day) end
end

-- `certain` is the part of `milli` that bounds what is taken back, beyond what level i has risen since it was `before[i]`.
local function take_back(milli, age, certain, before)
  if milli == 0 then return end
  for i = 1, count do
    if is_of(i) then
      local work = min(milli, holds[i] + 1) * offer_weights[i]
      -- A product that is too large to be exact is larger than any bucket.
      local drained = age * drains[i]
      local most = less(works[i], before[i]) + min(certain, holds[i] + 1) * offer_weights[i]
      local back = min(max(less(work, drained), less(floors[i] - 1, drained * RISE)), work, works[i], most)
      works[i] = works[i] - back
      floors[i] = max(floors[i] - back, 1)
    end
  end
end

local function lent_in_all()
  local sum = 0
  for i = 1, loans do sum = sum + lents[i] end
  return sum > EXACT and EXACT or sum
end

local function room(i, lent)
  if lent > holds[i] then lent = holds[i] + 1 end
  local free = is_of(i) and less(capacities[i], works[i]) or 0
  return less(free, lent * offer_weights[i])
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

-- Stores once kept the month that a loan belongs to.
local function lent_on(i)
  return loan_days[i] < FIRST_DAY and day_of(at) or loan_days[i]
end

local function forfeit(i)
  fill(lents[i], lents[i], 0, 0, 0)
  use_up(lent_on(i), lents[i])
  forfeits[i] = min(forfeits[i] + lents[i], EXACT)
  lents[i] = 0
end

local function remove_loan(place)
  for field = 1, #LOAN_FIELDS do
    local list = LOAN_FIELDS[field]
    for i = place, loans - 1 do list[i] = list[i + 1] end
  end
  loans = loans - 1
end

local function drain_level(i, elapsed)
  if weights[i] == 0 then return end
  local work = works[i]
  local until_empty = work > 0 and div_ceil(work, max(level_drains[i], 1)) or 0
  if elapsed < until_empty then
    works[i] = less(work, elapsed * level_drains[i])
  else
    works[i] = 0
    idles[i] = min(idles[i] + elapsed - until_empty, LONGEST_EMPTY)
  end
  if works[i] == 0 then
    floors[i] = 0
  elseif floors[i] > 0 then
    floors[i] = min(floors[i] + elapsed * level_drains[i] * RISE, works[i] + 1)
  end
end

-- Moves the level that was kept for a bucket's rate into the bucket's place.
local function arrange()
  for i = 1, count do
    if not is_of(i) then
      for place = 1, 3 do
        if is_kept_for(place, i) and not (place <= count and is_of(place)) then
          works[i], works[place] = works[place], works[i]
          weights[i], weights[place] = weights[place], weights[i]
          level_drains[i], level_drains[place] = level_drains[place], level_drains[i]
          idles[i], idles[place] = idles[place], idles[i]
          floors[i], floors[place] = floors[place], floors[i]
          break
        end
      end
    end
  end
end

local function drain(moment)
  arrange()
  local elapsed = less(moment, at)
  for i = count + 1, 3 do drain_level(i, elapsed) end
  for i = 1, count do
    become_of(i)
    local rest = elapsed
    if not is_of(i) then
      local too_much = min(until_fits(i), elapsed)
      drain_level(i, too_much)
      become_of(i)
      rest = elapsed - too_much
    end
    drain_level(i, rest)
  end
  at = moment
end

local function advance(now)
  local moment = now
  if at > now and at - now <= CLOCK_SKEW then moment = at end
  local ended
  for i = 1, loans do
    if lents[i] > 0 and loan_ends[i] <= moment then ended = max(ended or 0, loan_ends[i]) end
  end
  if ended then
    drain(min(max(ended, at), moment))
    for i = 1, loans do
      if lents[i] > 0 and loan_ends[i] <= moment then forfeit(i) end
    end
  end
  drain(moment)
  if refilled > moment or moment - refilled >= CALM_TTL then refilled = 0 end
  for i = loans, 1, -1 do
    if lents[i] == 0 and less(moment, loan_ends[i]) >= REMEMBERED then remove_loan(i) end
  end
end

local function start_loan(i)
  nodes[i], lows[i], highs[i] = node, low, high
  seqs[i], spents[i], lents[i], forfeits[i], loan_days[i], loan_ends[i] = 0, acked, 0, 0, 0, 0
  return i
end

-- The place of the node's loan, which is made if there is none. It is nil if the message is older than the loan.
local function loan_of()
  local place
  for i = 1, loans do
    if nodes[i] == node then
      place = i
      break
    end
  end
  if not place then
    if loans >= MAX_LOANS then
      local oldest
      for i = 1, loans do
        if lents[i] == 0 and (not oldest or loan_ends[i] < loan_ends[oldest]) then oldest = i end
      end
      if not oldest then return nil end
      remove_loan(oldest)
    end
    loans = loans + 1
    return start_loan(loans)
  end
  local is_same = high == highs[place] and low == lows[place]
  if is_same then return seq >= seqs[place] and place or nil end
  if high < highs[place] or (high == highs[place] and low < lows[place]) then return nil end
  forfeit(place)
  return start_loan(place)
end

local levels_before = {0, 0, 0}

local function report(i)
  local total = spent + returned
  local delta = less(total, spents[i])
  local back = min(less(max(spents[i], total), spent), returned)
  local from_lease = min(delta, less(lents[i], hold))
  if delta > 0 or back > 0 or forfeits[i] > 0 then
    local without = delta - from_lease
    local today = day_of(at)
    local is_known = said_day >= FIRST_DAY and said_day <= today
    local current = is_known and said_day or today
    local before = is_known and min(less(min(spent_before_day, total), spents[i]), delta) or 0
    local after = delta - before
    local lent_day = lent_on(i)
    local known_before, known_after = 0, 0
    if lent_day < current then
      known_before = min(forfeits[i], without, before)
    else
      known_after = min(forfeits[i], without, after)
    end
    local known = max(known_before, known_after)
    if refilled > 0 then sinces[1], sinces[2], sinces[3] = 0, 0, 0 end
    if back > 0 then levels_before[1], levels_before[2], levels_before[3] = works[1], works[2], works[3] end
    fill(from_lease + without - known, from_lease, sinces[1], sinces[2], sinces[3])
    use_up(less(current, 1), before - known_before)
    use_up(current, after - known_after)
    give_back(lent_day, forfeits[i] - known)
    take_back_of_usage(current, back, returned_age)
    take_back(back, returned_age, less(back, delta), levels_before)
    forfeits[i] = 0
    spents[i] = max(spents[i], total) - back
  end
  lents[i] = min(lents[i] - from_lease, hold)
end

-- The flags (1, 2, 4: limits; see lua.rs for the others) and the wait.
local function refusal(milli, month, ends, lent)
  local flags, wait, never = REFUSED, 0, false
  for i = 1, count do
    if milli > holds[i] then
      flags, never = flags + 2 ^ (i - 1), true
    else
      local missing = less(milli * offer_weights[i], room(i, lent))
      if missing > 0 then
        flags = flags + 2 ^ (i - 1)
        wait = max(wait, until_fits(i) + div_ceil(missing, drains[i]))
      end
    end
  end
  if quota then
    never = never or milli > quota
    if milli > less(less(quota, used(month)), lent) then
      flags = flags + REFUSED_BY_MONTH
      wait = max(wait, less(ends, at))
    end
  end
  if never then flags = flags + REFUSED_FOREVER end
  return flags, wait
end

local function is_scarce(month, lent)
  for i = 1, count do
    if room(i, lent) < div(capacities[i], 4) then return true end
  end
  return quota and less(less(quota, used(month)), lent) < max(lent * 8, div(quota, 64))
end

local function may_lie_idle()
  local least = EXACT
  for i = 1, count do least = min(least, holds[i]) end
  return div(least, CALM_PART)
end

local function has_plenty(lent)
  for i = 1, count do
    if room(i, lent) < div(capacities[i], 2) then return false end
  end
  return (count > 0 or quota) and lent <= may_lie_idle()
end

-- How long a lease may lie idle, by how often its client comes to the node: see Loan::pace.
local function idle_of(i)
  local was_calm = loan_ends[i] > at + LEASE_TTL
  local long_ago = loan_ends[i] > 0 and at + (was_calm and CALM_TTL or LEASE_TTL) >= loan_ends[i] + CALM_AFTER
  local gave_back = loan_ends[i] > 0 and lents[i] == 0 and hold == 0 and spent == spents[i]
  if was_calm and (long_ago or need > 0 and gave_back) then return IDLE_PATIENT_MS end
  if need > 0 then return (long_ago or gave_back) and IDLE_CALM_MS or IDLE_MS end
  return (was_calm or long_ago and hold > 0) and IDLE_CALM_MS or IDLE_MS
end

local function grant(month, held, said_spent, ttl, idle, flags, wait)
  local first = count > 0 and milli_of(1) or 0
  local second = count > 1 and milli_of(2) or 0
  local third = count > 2 and milli_of(3) or 0
  return pack('<BI8I8I4I4I8I8I8HI8BI8', GRANTED, held, said_spent, ttl, idle, first, second, third, month, used(month), flags, wait)
end

local function apply(month, ends)
  local i = loan_of()
  if not i then return pack('<B', STALE) end
  local is_repeated = seqs[i] == seq and loan_ends[i] > 0
  local flags, wait = 0, 0
  local idle = idle_of(i)
  if not is_repeated then report(i) end
  local lent = lent_in_all()
  local rest = left(month, lent)
  local missing = less(need, lents[i])
  if missing > rest then flags, wait = refusal(missing, month, ends, lent) end
  if not is_repeated then
    if missing <= rest then
      -- Only whole units are lent: a fraction on each of several nodes pays for no request.
      local held = lents[i] + missing
      rest = rest - missing
      local others = div(min(less(need + queued, held), rest), UNIT) * UNIT
      held = held + others
      local share = div(div(rest - others, SHARE), UNIT) * UNIT
      if idle > IDLE_MS then
        -- A lease that may lie idle for long takes only its part.
        share = min(share, div(less(may_lie_idle(), less(lent, lents[i]) + held), UNIT) * UNIT)
      end
      lents[i] = min(held + min(less(want, held), share), EXACT)
    end
  end
  lent = lent_in_all()
  local scarce = is_scarce(month, lent)
  local calm = not is_repeated and not scarce and idle > IDLE_MS and has_plenty(lent)
  if not is_repeated then
    loan_days[i] = day_of(at)
    loan_ends[i] = min(at + (calm and CALM_TTL or LEASE_TTL), ends)
  end
  seqs[i] = seq
  local ttl = min(div(less(loan_ends[i], at), 1000), 4294967295)
  idle = scarce and IDLE_SCARCE_MS or calm and idle or IDLE_MS
  return grant(month, lents[i], spents[i], ttl, idle, flags, wait)
end

local function charge(cost, month, ends)
  local lent = lent_in_all()
  local flags, wait = 0, 0
  if cost <= left(month, lent) then
    fill(cost, 0, 0, 0, 0)
    use_up(day_of(at), cost)
  else
    flags, wait = refusal(cost, month, ends, lent)
  end
  return grant(month, 0, 0, 0, 0, flags, wait)
end

local function settle(first, cost, charged_at, month)
  local more = less(cost, first)
  fill(more, 0, 0, 0, 0)
  use_up(day_of(at), more)
  local back = less(first, cost)
  give_back(day_of(min(charged_at, at)), back)
  levels_before[1], levels_before[2], levels_before[3] = 0, 0, 0
  take_back(back, charged_at > at and EXACT or at - charged_at, EXACT, levels_before)
  return grant(month, 0, 0, 0, 0, 0, 0)
end

local function reset(bucket, month, now)
  if bucket then
    for i = 1, 3 do works[i], weights[i], level_drains[i], idles[i], floors[i] = 0, 0, 0, 0, 0 end
    at = max(at, now)
    refilled = at
  end
  if not month then return end
  local turned = month_of(max(now, at))
  for i = usages, 1, -1 do
    if periods[i] == turned then remove_usage(i) end
  end
end

local function forgettable_at()
  local moment
  for i = 1, count do
    local drained = at + until_empty(i) + 1
    if not moment or drained > moment then moment = drained end
  end
  for i = 1, loans do
    local ended = loan_ends[i] + LEASE_TTL
    if not moment or ended > moment then moment = ended end
  end
  return moment or at
end
