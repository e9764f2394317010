-- One page of consumers that have customers, in the order of their bytes.
--
-- KEYS[1]  customers (hash: consumer -> its periods)
-- KEYS[2]  index (sorted set, all scores 0: a customer, a zero byte and a consumer; for every consumer once without a customer)
-- ARGV[1]  the customer, or '' for consumers of all customers
-- ARGV[2]  the consumer to begin after, or '' for none
-- ARGV[3]  the most rows
-- ARGV[4]  the page ends once its rows have this many bytes
-- Returns whether there are more rows, and consumers and periods in turn.

local head = ARGV[1] .. '\0'
local first = (ARGV[2] == '' and '[' or '(') .. head .. ARGV[2]
local most = tonumber(ARGV[3])
local members = redis.call('ZRANGEBYLEX', KEYS[2], first, '(' .. ARGV[1] .. '\1', 'LIMIT', 0, most + 1)
local rows, bytes = {}, 0
for i, member in ipairs(members) do
  if i > most or bytes >= tonumber(ARGV[4]) then return {1, rows} end
  local consumer = member:sub(#head + 1)
  local periods = redis.call('HGET', KEYS[1], consumer) or ''
  bytes = bytes + #consumer + #periods
  rows[#rows + 1] = consumer
  rows[#rows + 1] = periods
end
return {0, rows}
