-- One client's charge, if its account is as simple as almost all are. The result is what `account.lua` and `apply.lua`
-- would compute, which follow in the same script. Without a kept function, defining all of their functions takes longer
-- than such a charge, so this comes first. It returns nil and leaves the rest to them: a first request, a refusal, a
-- loan, another rate, a new day or month.
--
-- KEYS and ARGV are those of `apply.lua`.

local function charge_alone(KEYS, ARGV)
  if ARGV[2] == '1' and ARGV[3] == '1' and ARGV[5]:byte() == ASK_CHARGE then
    local call, pack, unpack, min, max = redis.call, struct.pack, struct.unpack, math.min, math.max
    local arg, value = ARGV[5], call('MGET', KEYS[1])[1]
    if value and #value >= 17 and value:byte() == ACCOUNT_VERSION then
      local _, has, at, described, named, lent, months = unpack('<BBI8HHHB', value)
      local _, flags, _, _, cost = unpack('<BBBBI8', arg)
      local count, d1, w1, c1, d2, w2, c2, d3, w3, c3, is_monthly, quota = unpack('<BI8I8I8I8I8I8I8I8I8BI8', ARGV[4])
      local names = 18 + count * 16 + described
      local is_whole = #value == names + named + 19 and (has >= HAS_NAME or named == 0)
      if is_whole and has % HAS_NAME == count and has < 2 * HAS_NAME and lent == 0 and months == 2 and cost > 0 then
        local now
        if ARGV[1] == '' then
          local time = call('TIME')
          now = time[1] * 1000000 + time[2]
        else
          now = tonumber(ARGV[1])
        end
        -- If the clock steps back by at most this much, time stands still.
        local moment = (at > now and at - now <= CLOCK_SKEW) and at or now
        local elapsed = max(moment - at, 0)
        local month, used, kept_day, used_today = unpack('<HI8HI8', value, names + named)

        -- The month, as in `month_of`.
        local today = (moment - moment % 86400000000) / 86400000000
        local day = today + 719468
        local of_era = day % 146097
        local leaps = (of_era - of_era % 1460) / 1460 - (of_era - of_era % 36524) / 36524 + (of_era - of_era % 146096) / 146096
        local year = (of_era - leaps - (of_era - leaps) % 365) / 365
        local fifths = (of_era - (year * 365 + (year - year % 4) / 4 - (year - year % 100) / 100)) * 5 + 2
        local this = ((day - of_era) / 146097 * 400 + year) * 12 + (fifths - fifths % 153) / 153 + 2 - 23640

        local fits = month == this and kept_day == today and (is_monthly == 0 or used + cost <= quota)
        local works, weights, drains, capacities = {0, 0, 0}, {w1, w2, w3}, {d1, d2, d3}, {c1, c2, c3}
        local milli, empty_at = {0, 0, 0}, 0
        for i = 1, count do
          local work, weight, drain = unpack('<i8I4I4', value, 2 + i * 16)
          work = max(work, 0)
          -- A product that is too large to be exact is larger than any bucket.
          work = work - min(elapsed * drain, work) + cost * weight
          fits = fits and weight == weights[i] and drain == drains[i] and work <= capacities[i]
          if not fits then break end
          works[i], milli[i] = work, (work + weight - 1 - (work + weight - 1) % weight) / weight
          empty_at = max(empty_at, (work + drain - 1 - (work + drain - 1) % drain) / drain)
        end

        if fits then
          used, used_today = min(used + cost, EXACT), min(used_today + cost, EXACT)
          local name = has >= HAS_NAME and value:sub(names, names + named - 1) or nil
          local is_same_day = at - at % 86400000000 == moment - moment % 86400000000
          if flags % (2 * NAMED) >= NAMED then
            if not name or not is_same_day then call('SADD', KEYS[2], KEYS[1]:sub(-32)) end
            name = arg:sub(13)
          end
          local description = ARGV[4]:sub(74)
          local parts = {pack('<BBI8HHHB', ACCOUNT_VERSION, count + (name and HAS_NAME or 0), moment, #description, name and #name or 0, 0, 2)}
          for i = 1, count do parts[i + 1] = pack('<i8I4I4', works[i], weights[i], drains[i]) end
          parts[count + 2] = description .. (name or '') .. pack('<HI8HI8', this, used, today, used_today)
          local packed = table.concat(parts)
          if flags % (2 * ANONYMOUS) >= ANONYMOUS then
            call('SET', KEYS[1], packed, 'PX', string.format('%.0f', max((empty_at + 1000 - empty_at % 1000) / 1000, 1)))
          elseif is_same_day then
            call('SET', KEYS[1], packed, 'KEEPTTL')
          else
            call('SET', KEYS[1], packed, 'PX', string.format('%.0f', CONSUMER_KEPT_MS))
          end
          return {string.format('%.0f', now),
            pack('<BI8I8I4I4I8I8I8HI8BI8', GRANTED, 0, 0, 0, 0, milli[1], milli[2], milli[3], this, used, 0, 0)}
        end
      end
    end
  end
end
