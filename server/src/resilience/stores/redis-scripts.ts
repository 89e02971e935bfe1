/** What must happen in Redis in one step. All keys of a script have one hash tag, so that a cluster can run it. */
import { redisScript } from '../../platform/redis/redis.ts'

/**
 * Charges all limits of a decision or none. The arithmetic is that of `gcra.ts`, in the same whole numbers; the
 * clock is the server's, so the nodes' clocks do not matter. A limit is kept only until it is paid back.
 *
 * KEYS: one per limit. ARGV, six per limit: permits, period in µs, burst, cost, 1 if enforced, permits of the burst
 * that the call leaves to others.
 * Answers four numbers per limit: 1 if it has room, permits left, ms until there is room (-1 = never), ms until
 * nothing is owed; and before them 1 if the call may pass.
 */
export const CHARGE = redisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limits = {}
local pass = true
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 6
  local l = { permits = tonumber(ARGV[at + 1]), period = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 4]),
    debt = 0, changed = false }
  l.burst = tonumber(ARGV[at + 3])
  l.capacity = l.burst * l.period
  local kept = redis.call('GET', key)
  if kept then
    local debt, since, permits, period = string.match(kept, '^(%d+) (%d+) (%d+) (%d+)$')
    permits = tonumber(permits)
    period = tonumber(period)
    l.debt = math.max(0, debt - math.max(0, now - since) * permits)
    -- A clock that went back, as after a failover, must not stop the paying back: it goes on from here.
    l.changed = now < tonumber(since)
    if permits ~= l.permits or period ~= l.period or l.debt > l.capacity then
      l.debt = math.min(math.ceil(l.debt / period * l.period), l.capacity)
      l.changed = true
    end
  end
  l.usable = l.capacity - tonumber(ARGV[at + 6]) * l.period
  l.room = l.debt + l.cost * l.period <= l.usable
  if not l.room and ARGV[at + 5] == '1' then pass = false end
  limits[i] = l
end
local answer = { pass and 1 or 0 }
for i, l in ipairs(limits) do
  local taken = pass and l.room
  if taken then l.debt = l.debt + l.cost * l.period end
  local reset = math.ceil(l.debt / (l.permits * 1000))
  if reset > 0 and (taken or l.changed) then
    redis.call('SET', KEYS[i], string.format('%.0f %.0f %.0f %.0f', l.debt, now, l.permits, l.period), 'PX', reset)
  end
  local wait = 0
  if not l.room then
    wait = l.cost > l.burst and -1 or math.ceil((l.debt + l.cost * l.period - l.usable) / (l.permits * 1000))
  end
  table.insert(answer, l.room and 1 or 0)
  table.insert(answer, math.max(0, math.floor((l.usable - l.debt) / l.period)))
  table.insert(answer, wait)
  table.insert(answer, reset)
end
return answer
`)

/** What is kept under a key, and for how many ms more. */
export const LEFT = redisScript(`return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }`)

/** Deletes a key if it still holds this value: a lease that has gone to another owner stays. */
export const RELEASE = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

/** A sign of life. KEYS: the nodes. ARGV: this node, ms after which one is dead. Answers how many live. */
export const BEAT = redisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`)
