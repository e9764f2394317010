-- Removes a client from the set of names, unless its account is there again.
--
-- KEYS[1]  the set of the clients that have names
-- KEYS[2]  the client's account
-- ARGV[1]  the client, as the set has it
-- Returns how many were removed.

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return redis.call('SREM', KEYS[1], ARGV[1])
