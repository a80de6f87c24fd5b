"""Lua scripts for atomic operations of Redis.

A queue has eight keys, all in the hash slot of the first one. A name with braces changes the prefix of the others:

    django_q:<name>:q              list    waiting packages, as in all versions of Django Q
    {django_q:<name>:q}:leases     zset    token of a lease → its end, in milliseconds of the server's clock
    {django_q:<name>:q}:delayed    zset    token of a delayed package → its due time
    {django_q:<name>:q}:packages   hash    token → package, for both
    {django_q:<name>:q}:dead       list    dead letters
    {django_q:<name>:q}:attempts   hash    SHA-1 of a package → earlier attempts (expired leases and failures), if
                                          any; deleted by an acknowledgement, and 30 days after the last change
    {django_q:<name>:q}:levels     zset    priorities except 0 that have waiting packages, the greatest first; these
                                          are in one list each, {django_q:<name>:q}:levels:<priority>
    {django_q:<name>:q}:notes      hash    SHA-1 of a waiting package whose priority is not 0 → its priority, number and
                                          position, which tell its age; `sent`, `gone` and `taken` count packages.
                                          Deleted with the last of them, 30 days after the last change, and when
                                          no package has waited for a minute: old clusters delete no notes

A token is `<nonce>:<number>`, followed by `:<attempts>` if there were any, or by `:<attempts>:<priority>` if the
priority is not 0. Number 0000 means that a fetch waited for the package, or that it is large. It is then in the
separate list {django_q:<name>:q}:leases:<nonce>:0000, not in the hash. The append-only file and replicas receive only
the move to that list. A write into the hash would repeat the whole package.

Consumers wait for the list, which has priority 0. So the first package of `levels` is shown there if the list is
empty: a waiting consumer gets it at once. The next fetch moves it back, unless a consumer has taken it.

The number of a note counts the packages with a priority. Its position is the number of packages of the list that were
taken before, and of those that are still there: the head of the list is older if fewer were taken. Packages that old
clusters take are not counted.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from django_q_redis.lua_functions import CLOCK, PRELUDE, SHOW
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
    text = CLOCK + (PRELUDE if prelude is None else prelude)
    old = text + (HARMLESS_WRITE if flag is Flag.MOVES else "") + body
    return Script(source(f"#!lua flags={flag}\n{text}{body}" if flag else old), source(old))


def source(text: str) -> Source:
    """Return a text with its SHA-1."""
    return Source(text, hashlib.sha1(text.encode()).hexdigest())


def rejects_flags(reply: object) -> bool:
    """Return True if the reply means that the server does not understand the flags of a script."""
    return isinstance(reply, ResponseError) and any(word in str(reply) for word in ("compiling", "shebang"))


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
  need('ZREM', 'HDEL', 'LPOP', 'LMOVE', 'DEL', 'HINCRBY', 'HSET', 'PEXPIRE', 'ZADD', command)
  while true do
    local tokens = redis.call('ZRANGE', zset, from or now, to or now, 'BYSCORE', 'LIMIT', 0, 1000, ...)
    if not tokens[1] then return end
    redis.call('ZREM', zset, unpack(tokens))
    local found, priorities = take(tokens)
    if zset == leases then count(found, length) end
    requeue(command, found, priorities)
  end
end

-- The last lease first, so that its package is behind the others at the head.
offer(leases, 'LPUSH', nil, '-inf', 'REV')
offer(delayed, 'RPUSH', '-inf', nil)

local alone = ARGV[4] == '1'
local function name(number)
  return nonce .. string.format(alone and '%04d:0000' or ':%04d', number)
end

local taken, priorities = {}, {}

-- Take up to *number* packages of a priority.
local function take_from(priority, number)
  local list, first = place_of(priority), #taken
  if alone then
    repeat
      local package = redis.call('LMOVE', list, place(name(#taken + 1)), 'LEFT', 'LEFT')
      if package then taken[#taken + 1] = package end
    until not package or #taken == first + number
  elseif first == 0 then
    taken = redis.call('LPOP', list, number) or taken
  else
    for _, package in ipairs(redis.call('LPOP', list, number) or {}) do taken[#taken + 1] = package end
  end
  if priority ~= 0 then
    for i = first + 1, #taken do priorities[i] = priority end
    forget_empty(priority)
  end
end

-- Return the lower priority with the oldest package.
local function oldest_of(lower)
  local oldest, least, position, has_list
  for _, priority in ipairs(lower) do
    if priority == 0 then
      has_list = true
    else
      local _, number, place = noted(redis.call('LINDEX', place_of(priority), 0))
      number = tonumber(number or 0)
      if not oldest or number < least then oldest, least, position = priority, number, tonumber(place or 0) end
    end
  end
  local taken_before = tonumber(redis.call('HGET', notes, 'taken') or 0)
  return has_list and (not oldest or taken_before < position) and 0 or oldest
end

-- Take packages of all priorities, the greatest first. A fair fetch begins with the oldest one of a lower priority.
local function take_in_order()
  local order = redis.call('EXISTS', queue) == 1 and {0} or {}
  for _, level in ipairs(redis.call('ZRANGE', levels, 0, -1)) do order[#order + 1] = tonumber(level) end
  table.sort(order, function(one, other) return one > other end)
  if ARGV[5] == '1' and order[2] then take_from(oldest_of({unpack(order, 2)}), 1) end
  for _, priority in ipairs(order) do
    if #taken < limit then take_from(priority, limit - #taken) end
  end
end

need('ZADD', not alone and 'HSET' or nil)
local special = redis.call('EXISTS', attempts, levels, notes) > 0
if special then
  need('LPOP', 'LMOVE', 'DEL', 'HDEL', 'HINCRBY', 'HSET', 'PEXPIRE', 'ZREM')
  hide()
  take_in_order()
  if redis.call('EXISTS', notes) == 1 then
    if taken[1] then forget_notes(taken) else expire_notes() end
  end
  show()
else
  take_from(0, limit)
end
if not taken[1] then return {soonest} end
local expiry = (now or clock()) + length
local counted = special and redis.call('EXISTS', attempts) == 1
local scores, fields, tokens = {}, {}, {}
for i, package in ipairs(taken) do
  local number = counted and redis.call('HGET', attempts, redis.sha1hex(package))
  local token = name(i) .. suffix(number, priorities[i])
  scores[2 * i - 1], scores[2 * i] = expiry, token
  if alone or special then tokens[i] = token end
  if not alone then fields[2 * i - 1], fields[2 * i] = token, package end
end
redis.call('ZADD', leases, unpack(scores))
push('HSET', packages, fields)
return {0, tokens, unpack(taken)}
""")
"""Requeue due packages, then lease up to *limit* packages for *length* ms under tokens that begin with *nonce*.

If the fourth argument is 1, each package is moved to a separate list. If the fifth one is 1, the fetch begins with the
oldest package of a lower priority than the greatest.
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
  return false
end
local ending = ''
if redis.call('EXISTS', attempts, levels, notes) > 0 then
  local package = redis.call('LINDEX', alone, 0)
  ending = suffix(redis.call('HGET', attempts, redis.sha1hex(package)), (noted(package)))
  if ending ~= '' then redis.call('ZREM', leases, token) end
  redis.call('ZADD', leases, clock() + length, token .. ending)
  if redis.call('EXISTS', notes) == 1 then forget_notes({package}) end
  show()
else
  redis.call('ZADD', leases, clock() + length, token)
end
return ending
""",
    prelude="local leases, alone, attempts, queue, levels, notes = unpack(KEYS)\n" + SHOW,
)
"""Renew the lease of a token if its package has arrived, otherwise end it.

The lease may have been deleted during the wait, for example with the queue.
Returns the end of the new token: its earlier attempts and its priority, or an empty text; nil without a package."""

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
need('ZREM', 'HDEL', 'LPOP', 'LMOVE', 'DEL', 'LPUSH', 'HINCRBY', 'HSET', 'PEXPIRE', 'ZADD')
redis.call('ZREM', leases, unpack(kept))
if delay == 0 then
  requeue('LPUSH', take(reversed(kept)))
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
"""Release leased packages to the head of their priority, or after *delay* ms as failed attempts.

Returns the positions of tokens whose lease was lost."""

EXPIRE = script("""
local length = tonumber(table.remove(ARGV, 1))
local kept, lost = held(ARGV)
if kept[1] then
  need('ZREM', 'HDEL', 'LPOP', 'LMOVE', 'DEL', 'HINCRBY', 'HSET', 'PEXPIRE', 'LPUSH', 'ZADD')
  redis.call('ZREM', leases, unpack(kept))
  local found, priorities = take(reversed(kept))
  count(found, length)
  requeue('LPUSH', found, priorities)
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
push('RPUSH', dead, (take(ARGV)))
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

APPEND_PRIORITISED_BODY: Final = """
local priority = table.remove(ARGV, 1)
need('RPUSH', 'ZADD', 'LMOVE', 'HINCRBY', 'HSET', 'PEXPIRE', 'ZREM')
if redis.call('EXISTS', notes) == 1 then hide() end
note(ARGV, priority)
redis.call('ZADD', levels, -priority, priority)
local length = redis.call('RPUSH', place_of(priority), unpack(ARGV))
show()
return length
"""

SEND_PRIORITISED = script(APPEND_PRIORITISED_BODY, Flag.STORES)
"""Append packages of the priority ARGV[1]; return the number of its packages."""

APPEND_PRIORITISED = script(APPEND_PRIORITISED_BODY)
"""Append packages of the priority ARGV[1] that replace others; return the number of its packages."""

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

forget_levels()
redis.call('DEL', queue, levels, notes)
drop(delayed, '+inf')
drop(leases, clock())
if redis.call('EXISTS', attempts) == 1 then
  local remaining = redis.call('PTTL', attempts)
  redis.call('DEL', attempts)
  for _, token in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    local number = string.match(token, '^[^:]*:[^:]*:([1-9]%d*)')
    local package = number and read(token)
    if package then redis.call('HSET', attempts, redis.sha1hex(package), number) end
  end
  if remaining > 0 then redis.call('PEXPIRE', attempts, remaining) end
end
return 1
""")
"""Delete packages that wait, are delayed or have an expired lease, and their counts. Other leases stay."""

SIZE = script(
    """
local number = redis.call('LLEN', queue)
for _, level in ipairs(redis.call('ZRANGE', levels, 0, -1)) do
  number = number + redis.call('LLEN', place_of(level))
end
return number
""",
    Flag.READS,
)
"""Count the waiting packages of all priorities."""

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

LIST = script(
    """
local state, limit, offset = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found, left = {}, {}

-- Add packages of a list, from *first* on.
local function add(list, first)
  local length = redis.call('LLEN', list) - first
  if #found < limit and offset < length then
    local part = redis.call('LRANGE', list, first + offset, first + offset + limit - #found - 1)
    for _, package in ipairs(part) do found[#found + 1] = package end
  end
  offset = math.max(offset - math.max(length, 0), 0)
end

-- Add the packages of all priorities. The head of the list may be the first one of another priority.
local function add_waiting()
  local head = redis.call('LINDEX', queue, 0)
  local shown = head and tonumber((noted(head)) or nil)
  local order, known = {0}, {[0] = true}
  for _, level in ipairs(redis.call('ZRANGE', levels, 0, -1)) do
    order[#order + 1], known[tonumber(level)] = tonumber(level), true
  end
  if shown and not known[shown] then order[#order + 1] = shown end
  table.sort(order, function(one, other) return one > other end)
  for _, priority in ipairs(order) do
    if priority == shown then
      if offset > 0 then offset = offset - 1 elseif #found < limit then found[#found + 1] = head end
    end
    add(place_of(priority), priority == 0 and shown and 1 or 0)
  end
end

-- Add leased or delayed packages, without leases whose package has not arrived.
local function add_timed(zset)
  local now, start = clock(), 0
  while #found < limit do
    local part = redis.call('ZRANGE', zset, start, start + 999, 'WITHSCORES')
    if not part[1] then return end
    for i = 1, #part, 2 do
      local list = place(part[i])
      local present = not list or redis.call('EXISTS', list) == 1
      if present and offset > 0 then
        offset = offset - 1
      elseif present and #found < limit then
        local package = read(part[i])
        if package then
          found[#found + 1] = package
          left[#found] = math.max(tonumber(part[i + 1]) - now, 0)
        end
      end
    end
    start = start + 1000
  end
end

if state == 'waiting' then add_waiting() end
if state == 'delayed' then add_timed(delayed) end
if state == 'leased' then add_timed(leases) end
if state == 'dead' then add(dead, 0) end
return {found, left}
""",
    Flag.READS,
)
"""Return up to *limit* packages of a state after *offset* others, and the milliseconds until the end of each lease or
delay."""

DELETE = script("""
forget_lists(redis.call('ZRANGE', leases, 0, -1))
forget_lists(redis.call('ZRANGE', delayed, 0, -1))
forget_levels()
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
