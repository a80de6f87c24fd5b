"""Lua scripts for atomic operations of Redis.

A queue has six keys, all in the hash slot of the first one. A name with braces changes the prefix of the others:

    django_q:<name>:q              list    waiting packages, as in all versions of Django Q
    {django_q:<name>:q}:leases     zset    token of a lease → its end, in milliseconds of the server's clock
    {django_q:<name>:q}:delayed    zset    token of a delayed package → its due time
    {django_q:<name>:q}:packages   hash    token → package, for both
    {django_q:<name>:q}:dead       list    dead letters
    {django_q:<name>:q}:attempts   hash    SHA-1 of a package → earlier attempts (expired leases and failures), if
                                          any; deleted by an acknowledgement, and 30 days after the last change

A token is `<nonce>:<number>`, followed by `:<attempts>` if there were any. Number 0000 means that a fetch waited for
the package, or that it is large. It is then in the separate list {django_q:<name>:q}:leases:<nonce>:0000, not in the
hash. The append-only file and replicas receive only the move to that list. A write into the hash would repeat the
whole package.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from django_q_redis.permissions import FETCHING_COMMANDS

HARMLESS_WRITE: Final = "redis.call('ZREM', leases, '')\n"
"""First command of scripts for servers without flags, because a script may use more memory after its first write."""


class Source(NamedTuple):
    """Text of a script, and its SHA-1, by which the server finds it."""

    text: str
    sha: str


class Script(NamedTuple):
    """A Lua script."""

    current: Source
    """Script with flags, for Redis 7 and newer."""
    old: Source
    """Script without flags, for older servers."""


class Flag(StrEnum):
    """Flags of a script for Redis 7 and newer."""

    MOVES = "allow-oom"
    """The script only moves or frees memory. A server without memory runs it."""
    READS = "no-writes"
    """The script changes nothing. A server that accepts no writes runs it."""
    STORES = ""
    """The script stores new data. A server without memory rejects it."""


def script(body: str, flag: Flag = Flag.MOVES, *, prelude: str | None = None) -> Script:
    """Return a script.

    Args:
        body: code of this script.
        flag: flag of the script.
        prelude: code before it; None means the functions that most scripts use.
    """
    text = CLOCK_FUNCTION + (PRELUDE if prelude is None else prelude)
    old = text + (HARMLESS_WRITE if flag is Flag.MOVES else "") + body
    return Script(source(f"#!lua flags={flag}\n{text}{body}" if flag else old), source(old))


def source(text: str) -> Source:
    """Return a text with its SHA-1."""
    return Source(text, hashlib.sha1(text.encode()).hexdigest())


def rejects_flags(reply: object) -> bool:
    """Return True if the reply means that the server does not understand the flags of a script."""
    return isinstance(reply, ResponseError) and any(word in str(reply) for word in ("compiling", "shebang"))


CLOCK_FUNCTION = """
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

PRELUDE = """
local queue, leases, delayed, packages, dead, attempts = unpack(KEYS)

-- Raise an error, before the first change, if the user may not run one of these commands.
local function need(...)
  if not redis.acl_check_cmd then return end
  for _, name in ipairs({...}) do
    if not redis.acl_check_cmd(name, leases, leases, leases, leases) then
      error({err = "NOPERM User has no permissions to run the '" .. string.lower(name) .. "' command"})
    end
  end
end

-- Return the tokens with a lease, and the positions of those without.
local function held(tokens)
  local kept, lost = {}, {}
  local scores = redis.call('ZMSCORE', leases, unpack(tokens))
  for i, token in ipairs(tokens) do
    if scores[i] then kept[#kept + 1] = token else lost[#lost + 1] = i end
  end
  return kept, lost
end

-- Return the list with only the package of this token; nil if it is in the hash.
local function place(token)
  local alone = string.match(token, '^[^:]*:0000')
  return alone and leases .. ':' .. alone
end

-- Return the package of this token.
local function read(token)
  local list = place(token)
  if list then return redis.call('LINDEX', list, 0) end
  return redis.call('HGET', packages, token)
end

local function forget_lists(tokens)
  for _, token in ipairs(tokens) do
    local list = place(token)
    if list then redis.call('DEL', list) end
  end
end

local function forget(tokens)
  redis.call('HDEL', packages, unpack(tokens))
  forget_lists(tokens)
end

-- Delete and return the packages of these tokens.
local function take(tokens)
  local found = {}
  for i, package in ipairs(redis.call('HMGET', packages, unpack(tokens))) do
    local list = place(tokens[i])
    package = package or list and redis.call('LPOP', list)
    if package then found[#found + 1] = package end
  end
  forget(tokens)
  return found
end

-- Delete the counts of the packages of these tokens.
local function forget_attempts(tokens)
  for _, token in ipairs(tokens) do
    if string.match(token, '^[^:]*:[^:]*:') then
      local package = read(token)
      if package then redis.call('HDEL', attempts, redis.sha1hex(package)) end
    end
  end
end

-- Add an attempt to the count of each of these packages. They are delivered again within *length* ms.
local function count(list, length)
  for _, package in ipairs(list) do redis.call('HINCRBY', attempts, redis.sha1hex(package), 1) end
  if list[1] then redis.call('PEXPIRE', attempts, length + 30 * 86400000) end
end

local function reversed(list)
  local other = {}
  for i = #list, 1, -1 do other[#other + 1] = list[i] end
  return other
end

local function push(command, key, list)
  if list[1] then redis.call(command, key, unpack(list)) end
end
"""

RESERVE = script("""
local limit, length, nonce = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now
local soonest = -1

local function offer(zset, command, from, to, ...)
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  if not first[1] then return end
  now = now or clock()
  local pause = tonumber(first[2]) - now
  if pause > 0 then
    if soonest < 0 or pause < soonest then soonest = pause end
    return
  end
  need('ZREM', 'HDEL', 'LPOP', 'DEL', 'HINCRBY', 'PEXPIRE', command)
  while true do
    local tokens = redis.call('ZRANGE', zset, from or now, to or now, 'BYSCORE', 'LIMIT', 0, 1000, ...)
    if not tokens[1] then return end
    redis.call('ZREM', zset, unpack(tokens))
    local found = take(tokens)
    if zset == leases then count(found, length) end
    push(command, queue, found)
  end
end

-- The last lease first, so that its package is behind the others at the head.
offer(leases, 'LPUSH', nil, '-inf', 'REV')
offer(delayed, 'RPUSH', '-inf', nil)

local alone = ARGV[4] == '1'
local function name(number)
  return nonce .. string.format(alone and '%04d:0000' or ':%04d', number)
end

local taken = {}
if alone then
  need('ZADD')
  repeat
    local package = redis.call('LMOVE', queue, place(name(#taken + 1)), 'LEFT', 'LEFT')
    if package then taken[#taken + 1] = package end
  until not package or #taken == limit
else
  need('ZADD', 'HSET')
  taken = redis.call('LPOP', queue, limit) or taken
end
if not taken[1] then return {soonest} end
local expiry = (now or clock()) + length
local counted = redis.call('EXISTS', attempts) == 1
local scores, fields, tokens = {}, {}, {}
for i, package in ipairs(taken) do
  local token = name(i)
  local number = counted and redis.call('HGET', attempts, redis.sha1hex(package))
  if number then token = token .. ':' .. number end
  scores[2 * i - 1], scores[2 * i] = expiry, token
  if alone or counted then tokens[i] = token end
  if not alone then fields[2 * i - 1], fields[2 * i] = token, package end
end
redis.call('ZADD', leases, unpack(scores))
push('HSET', packages, fields)
return {0, tokens, unpack(taken)}
""")
"""Requeue due packages, then lease up to *limit* packages for *length* ms under tokens that begin with *nonce*.

If the fourth argument is 1, each package is moved to a separate list.
Returns 0, the tokens unless they are numbered consecutively, and the packages. Without packages, returns only the
milliseconds until the next one is due, or -1 if there is none."""

EXPECT = script("return redis.call('ZADD', leases, clock() + ARGV[1], ARGV[2])", prelude="local leases = KEYS[1]\n")
"""Begin a lease of ARGV[1] ms under a token, before its package arrives.

Sent with its text, never by SHA-1: the next command of the round trip moves a package, even if this one fails."""

CONFIRM = script(
    """
local length, token = tonumber(ARGV[1]), ARGV[2]
if redis.call('EXISTS', alone) == 0 then
  redis.call('ZREM', leases, token)
  return -1
end
local number
if redis.call('EXISTS', attempts) == 1 then
  number = redis.call('HGET', attempts, redis.sha1hex(redis.call('LINDEX', alone, 0)))
end
if number then
  redis.call('ZREM', leases, token)
  token = token .. ':' .. number
end
redis.call('ZADD', leases, clock() + length, token)
return tonumber(number or 0)
""",
    prelude="local leases, alone, attempts = unpack(KEYS)\n",
)
"""Renew the lease of a token if its package has arrived, otherwise end it.

The lease may have been deleted during the wait, for example with the queue.
Returns the number of earlier attempts, which is appended to the token; -1 if there is no package."""

ACKNOWLEDGE = script("""
local kept, lost = held(ARGV)
if kept[1] then
  need('ZREM', 'HDEL', 'DEL')
  forget_attempts(kept)
  redis.call('ZREM', leases, unpack(kept))
  forget(kept)
end
return lost
""")
"""Delete leased packages; return the positions of tokens whose lease was lost."""

RENEW = script("""
local length = tonumber(table.remove(ARGV, 1))
local kept, lost = held(ARGV)
local expiry = clock() + length
local scores = {}
for i, token in ipairs(kept) do
  scores[2 * i - 1], scores[2 * i] = expiry, token
end
push('ZADD', leases, scores)
return lost
""")
"""Extend leases to *length* ms from now; return the positions of tokens whose lease was lost."""

RELEASE = script("""
local delay = tonumber(table.remove(ARGV, 1))
local kept, lost = held(ARGV)
if not kept[1] then return lost end
need('ZREM', 'HDEL', 'LPOP', 'DEL', 'LPUSH', 'HINCRBY', 'PEXPIRE', 'ZADD')
redis.call('ZREM', leases, unpack(kept))
if delay == 0 then
  push('LPUSH', queue, reversed(take(kept)))
  return lost
end
local due = clock() + delay
local scores, found = {}, {}
for i, token in ipairs(kept) do
  scores[2 * i - 1], scores[2 * i] = due, token
  found[#found + 1] = read(token) or nil
end
count(found, delay)
redis.call('ZADD', delayed, unpack(scores))
return lost
""")
"""Release leased packages to the head of the queue, or after *delay* ms as failed attempts.

Returns the positions of tokens whose lease was lost."""

EXPIRE = script("""
local length = tonumber(table.remove(ARGV, 1))
local kept, lost = held(ARGV)
if kept[1] then
  need('ZREM', 'HDEL', 'LPOP', 'DEL', 'HINCRBY', 'PEXPIRE', 'LPUSH')
  redis.call('ZREM', leases, unpack(kept))
  local found = take(kept)
  count(found, length)
  push('LPUSH', queue, reversed(found))
end
return lost
""")
"""Expire leases of *length* ms now; return the positions of tokens whose lease was lost."""

MOVE_TO_DEAD_LETTERS = script("""
local score = redis.call('ZMSCORE', leases, ARGV[1])[1]
if not score or tonumber(score) <= clock() then return {1} end
need('ZREM', 'HDEL', 'LPOP', 'DEL', 'RPUSH')
forget_attempts(ARGV)
redis.call('ZREM', leases, ARGV[1])
push('RPUSH', dead, take(ARGV))
return {}
""")
"""Move a leased package to the dead letters; return position 1 if its lease was lost or has expired."""

REQUEUE = script("""
need('RPUSH')
local found = redis.call('LPOP', dead, tonumber(ARGV[1]))
if not found then return 0 end
redis.call('RPUSH', queue, unpack(found))
return #found
""")
"""Requeue up to ARGV[1] dead letters; return their number."""

APPEND = script("return redis.call('RPUSH', queue, unpack(ARGV))")
"""Append packages that replace others."""

HIDE = script(
    """
need('ZADD')
redis.call('HSET', packages, ARGV[1], ARGV[3])
redis.call('ZADD', delayed, clock() + tonumber(ARGV[2]), ARGV[1])
return 1
""",
    Flag.STORES,
)
"""Store a package under a token, due in ARGV[2] ms."""

PURGE = script("""
local function drop(zset, last)
  local tokens = redis.call('ZRANGE', zset, '-inf', last, 'BYSCORE', 'LIMIT', 0, 1000)
  while tokens[1] do
    redis.call('ZREM', zset, unpack(tokens))
    forget(tokens)
    tokens = redis.call('ZRANGE', zset, '-inf', last, 'BYSCORE', 'LIMIT', 0, 1000)
  end
end

redis.call('DEL', queue)
drop(delayed, '+inf')
drop(leases, clock())
if redis.call('EXISTS', attempts) == 1 then
  local remaining = redis.call('PTTL', attempts)
  redis.call('DEL', attempts)
  for _, token in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    local number = string.match(token, '^[^:]*:[^:]*:(%d+)$')
    local package = number and read(token)
    if package then redis.call('HSET', attempts, redis.sha1hex(package), number) end
  end
  if remaining > 0 then redis.call('PEXPIRE', attempts, remaining) end
end
return 1
""")
"""Delete packages that wait, are delayed or have an expired lease, and their counts. Other leases stay."""

COUNT = script(
    """
local number = 0
for _, token in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
  local list = place(token)
  if not list or redis.call('EXISTS', list) == 1 then number = number + 1 end
end
return number
""",
    Flag.READS,
)
"""Count the leased packages, without leases whose package has not arrived."""

DELETE = script("""
forget_lists(redis.call('ZRANGE', leases, 0, -1))
forget_lists(redis.call('ZRANGE', delayed, 0, -1))
redis.call('DEL', unpack(KEYS))
return 1
""")
"""Delete all keys of the queue."""

POLICY = script(
    """
local memory = redis.pcall('INFO', 'memory')
return type(memory) == 'string' and string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
""",
    Flag.READS,
    prelude="",
)
"""Return `maxmemory-policy`; an empty text if the user may not read it, or the server does not report it."""

MISSING = script(
    f"""
local missing = {{}}
if redis.acl_check_cmd then
  for _, name in ipairs({{{", ".join(f"'{name}'" for name in FETCHING_COMMANDS)}}}) do
    if not redis.acl_check_cmd(name, leases, leases, leases, leases) then missing[#missing + 1] = name end
  end
end
return missing
""",
    Flag.READS,
)
"""Return the commands of `FETCHING_COMMANDS` that the user may not run. Before Redis 7, none is reported."""
