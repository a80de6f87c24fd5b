"""What Redis does in one step, as Lua.

A queue is six keys, all in the hash slot of the first; a name with braces changes the prefix of the others:

    django_q:<name>:q              list    packages that wait, as every version of Django Q has them
    {django_q:<name>:q}:leases     zset    token of a lease → when it ends, in milliseconds of the server's clock
    {django_q:<name>:q}:delayed    zset    token of a hidden package → when it is offered
    {django_q:<name>:q}:packages   hash    token → package, for both
    {django_q:<name>:q}:dead       list    packages that nobody could read
    {django_q:<name>:q}:attempts   hash    SHA-1 of a package → attempts that ended (an expired lease, a failure), if
                                          any; deleted by acknowledging it, and 30 days after the last change of any

A token is `<nonce>:<number>`, followed by `:<attempts>` if there were any. Number 0000 means that the package was
waited for, or is large: it is then in a list of its own, {django_q:<name>:q}:leases:<nonce>:0000, and not in the hash.
Moving it there is all that the append-only file and replicas are told, where a script that writes it into the hash
repeats the whole package.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from django_q_redis.permissions import FETCHING

HARMLESS_WRITE: Final = "redis.call('ZREM', leases, '')\n"
"""First command of scripts on a server without flags: after its first write, a script may use more memory."""


class Source(NamedTuple):
    """The text of a script and the name that the server keeps it under."""

    text: str
    sha: str


class Script(NamedTuple):
    """A Lua script."""

    current: Source
    """With flags, for Redis 7 and newer."""
    old: Source
    """For servers that know no flags."""


class Flag(StrEnum):
    """Tells Redis 7 and newer what a script does."""

    MOVES = "allow-oom"
    """It only moves or frees memory: a server without memory runs it."""
    READS = "no-writes"
    """It changes nothing: a server that accepts no writes runs it."""
    STORES = ""
    """It stores something new: a server without memory refuses it."""


def script(body: str, flag: Flag = Flag.MOVES, *, prelude: str | None = None) -> Script:
    """Return a script.

    Args:
        body: its own part.
        flag: the kind of the script.
        prelude: its first part; without one, the functions that most scripts use.
    """
    text = CLOCK + (PRELUDE if prelude is None else prelude)
    old = text + (HARMLESS_WRITE if flag is Flag.MOVES else "") + body
    return Script(source(f"#!lua flags={flag}\n{text}{body}" if flag else old), source(old))


def source(text: str) -> Source:
    """Return a text with its name."""
    return Source(text, hashlib.sha1(text.encode()).hexdigest())


def knows_no_flags(reply: object) -> bool:
    """Return True if a server answers that it does not understand the flags of a script."""
    return isinstance(reply, ResponseError) and any(word in str(reply) for word in ("compiling", "shebang"))


CLOCK = """
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

PRELUDE = """
local queue, leases, delayed, packages, dead, attempts = unpack(KEYS)

-- Raise an error, before anything has changed, if the user may not run one of these commands.
local function need(...)
  if not redis.acl_check_cmd then return end
  for _, name in ipairs({...}) do
    if not redis.acl_check_cmd(name, leases, leases, leases, leases) then
      error({err = "NOPERM User has no permissions to run the '" .. string.lower(name) .. "' command"})
    end
  end
end

-- Which of the tokens are still leased, and the positions of those that are not.
local function held(tokens)
  local kept, lost = {}, {}
  local scores = redis.call('ZMSCORE', leases, unpack(tokens))
  for i, token in ipairs(tokens) do
    if scores[i] then kept[#kept + 1] = token else lost[#lost + 1] = i end
  end
  return kept, lost
end

-- The list that holds only the package under this token, if there is one.
local function place(token)
  local alone = string.match(token, '^[^:]*:0000')
  return alone and leases .. ':' .. alone
end

-- The package under this token.
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

-- The packages under these tokens, which are forgotten.
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

-- Delete the counts of the packages under these tokens.
local function forget_attempts(tokens)
  for _, token in ipairs(tokens) do
    if string.match(token, '^[^:]*:[^:]*:') then
      local package = read(token)
      if package then redis.call('HDEL', attempts, redis.sha1hex(package)) end
    end
  end
end

-- Count an attempt at each of these packages, which are offered again within so many ms.
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

-- The last first, which is then behind the others at the head.
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
"""Offer what is due again, then lease up to *limit* packages for *length* ms under tokens that begin with *nonce*.

A fourth argument of 1 leaves each in a list of its own.
Gives 0, the tokens where they are not just numbered, and the packages; or, when there are none, only the milliseconds
until something is due (-1: nothing is)."""

EXPECT = script("return redis.call('ZADD', leases, clock() + ARGV[1], ARGV[2])", prelude="local leases = KEYS[1]\n")
"""Begin a lease of so many ms under a token, for a package that is still to come.

Sent as it is: what follows it in the same flight moves a package, and must not where this was refused."""

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
"""Begin the lease of a token again if its package has come, or end it.

The lease may have disappeared while the package was waited for, as when the queue was deleted.
Gives the number of earlier attempts, by which the token is extended; -1 if there is no package."""

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
"""Forget leased packages; give the positions of tokens that were not valid any more."""

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
"""Let leases end *length* ms from now; give the positions of tokens that were not valid any more."""

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
"""Offer leased packages again, at the head, or in *delay* ms as failed attempts.

Gives the positions of tokens that were not valid any more."""

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
"""Expire leases of *length* ms now; give the positions of tokens that were not valid any more."""

MOVE_TO_DEAD_LETTERS = script("""
local score = redis.call('ZMSCORE', leases, ARGV[1])[1]
if not score or tonumber(score) <= clock() then return {1} end
need('ZREM', 'HDEL', 'LPOP', 'DEL', 'RPUSH')
forget_attempts(ARGV)
redis.call('ZREM', leases, ARGV[1])
push('RPUSH', dead, take(ARGV))
return {}
""")
"""Move a leased package to the dead letters; give position 1 if its lease was lost or has ended."""

EXHUME = script("""
need('RPUSH')
local found = redis.call('LPOP', dead, tonumber(ARGV[1]))
if not found then return 0 end
redis.call('RPUSH', queue, unpack(found))
return #found
""")
"""Offer up to so many dead letters again; give how many."""

APPEND = script("return redis.call('RPUSH', queue, unpack(ARGV))")
"""Append packages that take the place of others."""

HIDE = script(
    """
need('ZADD')
redis.call('HSET', packages, ARGV[1], ARGV[3])
redis.call('ZADD', delayed, clock() + tonumber(ARGV[2]), ARGV[1])
return 1
""",
    Flag.STORES,
)
"""Keep a package under a token and offer it in so many ms."""

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
"""Delete the packages that wait, are hidden, or whose lease has ended, and their counts; other leases stay."""

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
"""Count the leased packages; a lease whose package has not come yet is none."""

DELETE = script("""
forget_lists(redis.call('ZRANGE', leases, 0, -1))
forget_lists(redis.call('ZRANGE', delayed, 0, -1))
redis.call('DEL', unpack(KEYS))
return 1
""")
"""Forget all keys of the queue."""

POLICY = script(
    """
local memory = redis.pcall('INFO', 'memory')
return type(memory) == 'string' and string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
""",
    Flag.READS,
    prelude="",
)
"""Name what a full server does (`maxmemory-policy`); nothing if the user may not ask, or the server does not tell."""

MISSING = script(
    f"""
local missing = {{}}
if redis.acl_check_cmd then
  for _, name in ipairs({{{", ".join(f"'{name}'" for name in FETCHING)}}}) do
    if not redis.acl_check_cmd(name, leases, leases, leases, leases) then missing[#missing + 1] = name end
  end
end
return missing
""",
    Flag.READS,
)
"""Name the commands that the user needs to fetch and settle packages, and may not run; before Redis 7 none is known."""
