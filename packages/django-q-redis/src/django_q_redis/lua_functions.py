"""Lua functions that scripts begin with."""

from __future__ import annotations

from typing import Final

NOTE_MILLISECONDS: Final = 30 * 86_400_000
"""Time after which attempts and priorities of packages are deleted, if none has changed."""

STALE_NOTE_MILLISECONDS: Final = 60_000
"""Time after which priorities are deleted if no package waits. A consumer needs them to confirm its lease."""

CLOCK: Final = """
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""Function that returns the milliseconds of the server's clock."""

SHOW: Final = f"""
-- Return the list of a priority.
local function place_of(priority)
  return tonumber(priority) == 0 and queue or levels .. ':' .. priority
end

local function forget_empty(priority)
  if redis.call('EXISTS', place_of(priority)) == 0 then redis.call('ZREM', levels, priority) end
end

-- Note priority and age of packages. Those that were leased before count as the oldest.
local function note(list, priority, is_old)
  local last = redis.call('HINCRBY', notes, 'sent', #list)
  local position = is_old and 0 or redis.call('LLEN', queue) + tonumber(redis.call('HGET', notes, 'taken') or 0)
  local fields = {{}}
  for i, package in ipairs(list) do
    local number = is_old and 0 or last - #list + i
    fields[2 * i - 1], fields[2 * i] = redis.sha1hex(package), priority .. ':' .. number .. ':' .. position
  end
  local added = redis.call('HSET', notes, unpack(fields))
  if added < #list then redis.call('HINCRBY', notes, 'gone', #list - added) end
  redis.call('PEXPIRE', notes, {NOTE_MILLISECONDS})
end

-- Return the noted priority, number and position of a package; nil if there are none.
local function noted(package)
  local found = redis.call('HGET', notes, redis.sha1hex(package))
  if found then return string.match(found, '^(.*):(.*):(.*)$') end
end

-- Delete the notes of packages that were leased, and count those without a note: they come from the list.
local function forget_notes(list)
  local digests = {{}}
  for i, package in ipairs(list) do digests[i] = redis.sha1hex(package) end
  local gone = redis.call('HDEL', notes, unpack(digests))
  redis.call('HINCRBY', notes, 'taken', #list - gone)
  local sent = redis.call('HGET', notes, 'sent')
  if redis.call('HINCRBY', notes, 'gone', gone) >= tonumber(sent or 0) then redis.call('DEL', notes) end
end

-- Move the first package with a priority to the list if that is empty, because consumers wait for the list.
local function show()
  local priority = redis.call('ZRANGE', levels, 0, 0)[1]
  if not priority or redis.call('EXISTS', queue) == 1 then return end
  local package = redis.call('LINDEX', place_of(priority), 0)
  if package then
    if not noted(package) then note({{package}}, priority, true) end
    redis.call('LMOVE', place_of(priority), queue, 'LEFT', 'LEFT')
  end
  forget_empty(priority)
end

-- Return the end of a token.
local function suffix(number, priority)
  if priority then return ':' .. (number or 0) .. ':' .. priority end
  return number and ':' .. number or ''
end
"""
"""Functions that show the first package with a priority to waiting consumers."""

PRELUDE: Final = f"""
local queue, leases, delayed, packages, dead, attempts, levels, notes = unpack(KEYS)

-- Raise an error, before the first change, if the user may not run one of these commands.
local function need(...)
  if not redis.acl_check_cmd then return end
  for _, name in ipairs({{...}}) do
    if not redis.acl_check_cmd(name, leases, leases, leases, leases) then
      error({{err = "NOPERM User has no permissions to run the '" .. string.lower(name) .. "' command"}})
    end
  end
end

-- Return the tokens with a lease, and the positions of those without.
local function held(tokens)
  local kept, lost = {{}}, {{}}
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

-- Delete and return the packages of these tokens, and their priorities.
local function take(tokens)
  local found, priorities = {{}}, {{}}
  for i, package in ipairs(redis.call('HMGET', packages, unpack(tokens))) do
    local list = place(tokens[i])
    package = package or list and redis.call('LPOP', list)
    if package then
      found[#found + 1] = package
      priorities[#found] = string.match(tokens[i], '^[^:]*:[^:]*:[^:]*:(.*)')
    end
  end
  forget(tokens)
  return found, priorities
end

-- Delete the counts of the packages of these tokens.
local function forget_attempts(tokens)
  for _, token in ipairs(tokens) do
    if string.match(token, '^[^:]*:[^:]*:[1-9]') then
      local package = read(token)
      if package then redis.call('HDEL', attempts, redis.sha1hex(package)) end
    end
  end
end

-- Add an attempt to the count of each of these packages. They are delivered again within *length* ms.
local function count(list, length)
  for _, package in ipairs(list) do redis.call('HINCRBY', attempts, redis.sha1hex(package), 1) end
  if list[1] then redis.call('PEXPIRE', attempts, length + {NOTE_MILLISECONDS}) end
end

local function reversed(list)
  local other = {{}}
  for i = #list, 1, -1 do other[#other + 1] = list[i] end
  return other
end

local function push(command, key, list)
  if list[1] then redis.call(command, key, unpack(list)) end
end
{SHOW}
-- Move packages that are shown at the head of the list back to their priorities.
local function hide()
  local package = redis.call('LINDEX', queue, 0)
  local priority = package and noted(package)
  if not priority then return end
  redis.call('ZADD', levels, -priority, priority)
  redis.call('LMOVE', queue, place_of(priority), 'LEFT', 'LEFT')
  return hide()
end

-- Push packages, one by one, to the head (LPUSH) or the end (RPUSH) of their priorities.
local function requeue(command, found, priorities)
  local has_notes = redis.call('EXISTS', notes) == 1
  if has_notes then hide() end
  local is_old, normal, others = command == 'LPUSH', {{}}, {{}}
  for i, package in ipairs(found) do
    -- A consumer that ended before it confirmed its lease has left the note.
    local priority = priorities[i] or has_notes and noted(package)
    local list = normal
    if priority then
      others[priority] = others[priority] or {{}}
      list = others[priority]
    end
    list[#list + 1] = package
  end
  push(command, queue, normal)
  if has_notes and is_old and normal[1] then redis.call('HINCRBY', notes, 'taken', -#normal) end
  for priority, list in pairs(others) do
    note(list, priority, is_old)
    redis.call('ZADD', levels, -priority, priority)
    push(command, place_of(priority), list)
  end
  if has_notes or next(others) then show() end
end

-- Delete notes soon, because no package waits: an old cluster has taken theirs.
local function expire_notes()
  if redis.call('PTTL', notes) > {STALE_NOTE_MILLISECONDS} then
    redis.call('PEXPIRE', notes, {STALE_NOTE_MILLISECONDS})
  end
end

local function forget_levels()
  for _, level in ipairs(redis.call('ZRANGE', levels, 0, -1)) do redis.call('DEL', place_of(level)) end
end
"""
"""Functions that most scripts use."""
