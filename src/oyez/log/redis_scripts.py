"""The Lua scripts of the log in Redis. Redis runs each script atomically."""

from hashlib import sha1

_BEGIN = """
local epoch = redis.call('HGET', KEYS[2], 'epoch')
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], 'MAXLEN', 0, '0-1', 'e', '')
  redis.call('HSET', KEYS[2], 'stream', ARGV[1])
  epoch = false
end
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
"""
"""If there is no log, a new one starts with number 1 already used: so an empty stream differs from a lost one."""

LOOK = (
    _BEGIN
    + """
local about = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' then last = string.match(about[i + 1], '-(%d+)') end
end
if epoch == ARGV[2] and tonumber(last) < tonumber(ARGV[3]) then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
return epoch .. '.' .. last
"""
)
"""KEYS: stream, about. ARGV: a new epoch, the epoch and the number that are known. Returns the position."""

APPEND = (
    "local done = redis.call('GET', KEYS[3])\nif done then return done end\n"
    + _BEGIN
    + """
local stream
local stored = false
local numbers = {}
for i = 8, #ARGV, 2 do
  local key = ARGV[i + 1] ~= '' and KEYS[tonumber(ARGV[i + 1])]
  local number
  if key then
    stream = stream or redis.call('HGET', KEYS[2], 'stream') .. '.'
    local known = redis.call('GET', key)
    if known and string.sub(known, 1, #stream) == stream then number = string.sub(known, #stream + 1) end
  end
  if not number then
    number = string.sub(redis.call('XADD', KEYS[1], '0-*', 't', ARGV[4], 'e', ARGV[i]), 3)
    stored = true
    if epoch == ARGV[2] and tonumber(number) <= tonumber(ARGV[3]) then
      epoch = ARGV[1]
      redis.call('HSET', KEYS[2], 'epoch', epoch)
    end
    if key then redis.call('SET', key, stream .. number, 'PX', ARGV[5]) end
  end
  numbers[#numbers + 1] = number
end
if stored and ARGV[7] ~= '' then redis.call('SET', KEYS[4], ARGV[7]) end
done = epoch .. '.' .. table.concat(numbers, ',')
redis.call('SET', KEYS[3], done, 'PX', ARGV[6])
return done
"""
)
"""KEYS: stream, about, this call's key, the checkpoint's key, then the keys of entries. ARGV: a new epoch, the known
epoch and number, the time, the retention, the time for which this call is remembered, the checkpoint's value or
nothing, then for each entry its bytes and the index of its key in KEYS. Times are ms."""

TRIM = """
local function time_of(number)
  local found = redis.call('XRANGE', KEYS[1], '0-' .. number, '+', 'COUNT', 1)[1]
  return found and tonumber(found[2][2])
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not first then return 0 end
local low = tonumber(string.sub(first[1], 3))
local high = tonumber(string.sub(last[1], 3)) + 1
while low < high do
  local middle = math.floor((low + high) / 2)
  if time_of(string.format('%.0f', middle)) > tonumber(ARGV[1]) then high = middle else low = middle + 1 end
end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('0-%.0f', low))
"""
"""KEYS: stream. ARGV: the time in ms up to which entries are deleted. Times only grow, so a binary search finds it."""

DIGESTS = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (LOOK, APPEND, TRIM)}
"""The SHA-1 digests by which Redis identifies the scripts."""
