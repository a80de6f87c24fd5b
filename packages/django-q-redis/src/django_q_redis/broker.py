"""Broker that keeps packages in Redis or Valkey."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import redis
from django_q.brokers import EXACT_PRIORITIES, BulkBroker, Delivery, ListedPackage, PackageState
from django_q.brokers.base import as_text
from django_q.exceptions import BrokerError, BrokerUnavailable, mark_sent
from django_q.settings import current_settings
from redis.exceptions import NoScriptError, ResponseError

from django_q_redis import scripts
from django_q_redis.client import client_for, longest_wait, prepare
from django_q_redis.errors import converting_errors, is_out_of_memory, missing_permissions
from django_q_redis.keys import keys_of
from django_q_redis.limits import sending
from django_q_redis.raw_connection import RawConnection, connection_of
from django_q_redis.stats import RedisStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings

    from django_q_redis.client import Client
    from django_q_redis.keys import Keys
    from django_q_redis.scripts import Script, Source

MAX_SCRIPT_PACKAGES = 1000
"""Maximum number of packages per script, because the stack of Lua limits the number of arguments."""

LARGE_PACKAGE_BYTES = 16 * 1024
"""Size of a package from which the next ones are moved to separate lists, so that the server writes less data."""

SWEEP_INTERVAL_SECONDS = 5.0
"""Maximum interval at which an idle broker checks for expired leases; less if `retry` is short."""

CHECK_INTERVAL_SECONDS = 2.0
"""Interval at which an idle broker checks for packages that other processes have delayed."""

ESCAPED_BYTE = "\\x"
"""Text in place of a byte that is no valid UTF-8."""

MIN_BLOCKING_SECONDS = 0.01
"""Minimum time that a command blocks: Redis 6.2 rounds a millisecond to 0, which means no limit."""

EVICTS_PACKAGES = "allkeys-"
"""Prefix of the `maxmemory-policy` values with which a full server deletes keys without expiry."""


class Redis(BulkBroker):
    """Keeps waiting packages in a Redis list, and packages in flight under a lease."""

    supports_delay = 10 * 365 * 86_400.0
    supports_lock_size = True
    supports_dead_letters = True
    supports_listing = True
    supports_prefetch = True
    priorities = EXACT_PRIORITIES
    keeps_statistics = True
    # Without receipts, Redis never repeated a failed task. An upgrade must not change that.
    acknowledges_failures = True
    blocks = True

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        # Monotonic times of the next sweep (due packages and leases), and of the next check for delayed packages.
        self._sweep_at = 0.0
        self._check_at = 0.0
        self._first_hidden: list[Any] | None = None
        self._found_before = False
        self._found_large = False
        self._is_fair = False
        self._is_permitted = False
        self._rejects_flags = False
        self._listed: dict[str, float] = {}
        self._client_and_raw: tuple[Any, Callable[..., Any]] = None, connection_of

    @classmethod
    def queue_key(cls, name: str) -> str:
        """Return the list that all versions of Django Q use."""
        return f"django_q:{name}:q"

    @property
    def dead_key(self) -> str:
        """Name of the list of dead letters."""
        return self._keys().dead

    @classmethod
    def prepare(cls, settings: ClusterSettings) -> None:
        """Create a client for the processes that are forked."""
        prepare(settings)

    def connect(self) -> Client:
        """Return the client of this process."""
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Client:
        """Return the client of the current settings."""
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        client = self.connection
        if isinstance(client, redis.Redis):
            client.connection_pool.disconnect()
        else:
            client.disconnect_connection_pools()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int | str:
        """Append a package, due after *delay* seconds.

        Returns:
            The number of waiting packages of its priority, or the token of a delayed one.
        """
        if delay > 0:
            token = delayed_token(priority)
            with self._sending([package]):
                self._run(scripts.HIDE, token, milliseconds(delay), package)
            self._sweep_at = 0.0
            return token
        if priority:
            return self._append_prioritised(scripts.SEND_PRIORITISED, [package], priority)
        with self._sending([package]):
            return cast("int", self._raw()("RPUSH", self.list_key, package))

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        """Append packages in one command, and return their positions. If the server rejects one, none is appended.

        Packages with a priority need one script for each 1,000. If the server rejects one, none of its script is
        appended.
        """
        if not packages:
            return []
        if priority:
            length = self._append_prioritised(scripts.SEND_PRIORITISED, packages, priority)
        else:
            with self._sending(packages):
                length = cast("int", self._raw()("RPUSH", self.list_key, *packages))
        return list(range(length - len(packages) + 1, length + 1))

    def enqueue_links(self, packages: Sequence[str], *, priority: int = 0) -> None:
        """Append the next links of chains, even if the server has no memory for other packages."""
        if priority:
            self._append_prioritised(scripts.APPEND_PRIORITISED, packages, priority)
            return
        with self._sending(packages):
            try:
                self._raw()("RPUSH", self.list_key, *packages)
            except ResponseError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return
            for start in range(0, len(packages), MAX_SCRIPT_PACKAGES):
                self._run(scripts.APPEND, *packages[start : start + MAX_SCRIPT_PACKAGES])

    def _append_prioritised(self, script: Script, packages: Sequence[str], priority: int) -> int:
        """Append packages of one priority with *script*, and return the number of its waiting packages."""
        length = 0
        for start in range(0, len(packages), MAX_SCRIPT_PACKAGES):
            part = packages[start : start + MAX_SCRIPT_PACKAGES]
            try:
                with self._sending(part):
                    length = self._run(script, priority, *part)
            except BrokerError as error:
                mark_sent(error, range(start))
                raise
        return length

    def _sending(self, packages: Sequence[str]) -> sending:
        return sending(lambda: self.connection, self.list_key, packages)

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages; wait up to *wait* seconds for the first."""
        if limit < 1:
            return []
        self._is_fair = self.is_fair_fetch()
        try:
            self._check_permissions()
            return self._fetch(limit, wait)
        except BrokerUnavailable:
            self._is_permitted = False  # the next server, or its user, may be another one
            raise

    def _check_permissions(self) -> None:
        """Check that the user may run the commands for fetched packages, before any is fetched.

        Raises:
            BrokerUnavailable: a permission is missing. The message has the commands.
        """
        if self._is_permitted:
            return
        missing = [each.decode() if isinstance(each, bytes) else each for each in self._run(scripts.MISSING)]
        if missing:
            raise missing_permissions(missing)
        self._is_permitted = True

    def _fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        found: list[Delivery] = []
        # Before a lease in advance, too: it gets the head of the list, whatever its priority.
        if self._is_due() or self._found_before or wait <= 0:
            found = self._reserve(limit)
        while not found and (now := time.monotonic()) < deadline:
            if self._check_at <= now:
                self._check_delayed()
            pause = min(deadline - now, self._sweep_at - now, CHECK_INTERVAL_SECONDS)
            if self._found_before and isinstance(raw := self._raw(), RawConnection):
                found = self._expect(raw, pause)
                self._found_before = bool(found)
            elif self._wait_for_package(pause) or self._is_due():
                found = self._reserve(limit)
        if found:
            # There may be more packages: sweep at the next fetch, and then wait with a lease in advance.
            self._sweep_at = 0.0
            self._found_before = True
        return found

    def _is_due(self) -> bool:
        return self._sweep_at <= time.monotonic()

    def _check_delayed(self) -> None:
        """Request a sweep if the first delayed package has changed."""
        self._check_at = time.monotonic() + CHECK_INTERVAL_SECONDS
        with converting_errors():
            first = self.connection.zrange(self._keys().delayed, 0, 0)
        if first and first != self._first_hidden:
            self._sweep_at = 0.0
        self._first_hidden = first

    def _reserve(self, limit: int) -> list[Delivery]:
        """Requeue due packages, then lease waiting ones of the greatest priorities."""
        nonce = new_nonce()
        retry = self.settings.retry
        limit = min(limit, MAX_SCRIPT_PACKAGES)
        options = int(self._found_large), int(self._is_fair)
        due, *found = self._run(scripts.RESERVE, limit, milliseconds(retry), nonce, *options)
        soonest = due / 1000 if due >= 0 else SWEEP_INTERVAL_SECONDS
        self._sweep_at = time.monotonic() + min(SWEEP_INTERVAL_SECONDS, retry / 2, soonest)
        named, *packages = found or [[]]
        if packages:
            self._found_large = max(map(len, packages)) > LARGE_PACKAGE_BYTES
        tokens = [token.decode() if isinstance(token, bytes) else token for token in named]
        tokens = tokens or [f"{nonce}:{number:04}" for number in range(1, len(packages) + 1)]
        return [Delivery(token, package, attempt_of(token)) for token, package in zip(tokens, packages, strict=True)]

    def _expect(self, raw: RawConnection, wait: float) -> list[Delivery]:
        """Begin a lease, wait for a package and confirm the lease, in one round trip."""
        keys = self._keys()
        token = f"{new_nonce()}:0000"
        alone = f"{keys.leases}:{token}"
        pause = self._pause(wait)
        retry = milliseconds(self.settings.retry)
        length = retry + milliseconds(pause)
        confirming = keys.leases, alone, keys.attempts, keys.queue, keys.levels, keys.notes
        with converting_errors():
            begun, package, ending = raw.replies(
                ("EVAL", self._source(scripts.EXPECT).text, 1, keys.leases, length, token),
                ("BLMOVE", self.list_key, alone, "LEFT", "LEFT", pause),
                ("EVAL", self._source(scripts.CONFIRM).text, len(confirming), *confirming, retry, token),
            )
            if refused := first_error(begun, ending):
                raw("LMOVE", alone, self.list_key, "LEFT", "LEFT")  # no package may stay there without a lease
                self._use_old_scripts(refused)
                return []
            if isinstance(package, ResponseError):
                self._wait_without_memory(package, pause)
        if ending is None:
            return []
        token += ending.decode() if isinstance(ending, bytes) else ending
        return [Delivery(token, package, attempt_of(token))]

    def _wait_for_package(self, wait: float) -> bool:
        """Wait until the list has a package, without leasing it: the command moves the head of the list to itself."""
        pause = self._pause(wait)
        with converting_errors():
            try:
                return self._raw()("BLMOVE", self.list_key, self.list_key, "LEFT", "LEFT", pause) is not None
            except ResponseError as error:
                self._wait_without_memory(error, pause)
                return self._raw()("LLEN", self.list_key) > 0

    def _wait_without_memory(self, refusal: ResponseError, wait: float) -> None:
        """Sleep if the server has no memory for a blocking command. Only released packages can arrive meanwhile.

        Raises:
            ResponseError: the server rejected the command for another reason.
        """
        if not is_out_of_memory(refusal):
            raise refusal
        time.sleep(min(wait, self.settings.poll))

    def _pause(self, wait: float) -> float:
        return min(max(wait, MIN_BLOCKING_SECONDS), longest_wait(self.connection))

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        """Delete leased packages, in one script; return the ids whose lease was lost."""
        return self._settle(scripts.ACKNOWLEDGE, ack_ids)

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Extend leases to `retry` seconds from now, in one script; return the ids whose lease was lost."""
        return self._settle(scripts.RENEW, ack_ids, milliseconds(self.settings.retry))

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Release packages for *delay* seconds, in one script; return the ids whose lease was lost."""
        return self._settle(scripts.RELEASE, ack_ids, milliseconds(delay))

    def expire(self, ack_id: str) -> bool:
        """Expire a lease now. Return False if it was lost."""
        return not self._settle(scripts.EXPIRE, [ack_id], milliseconds(self.settings.retry))

    def fail(self, ack_id: str) -> bool:
        """Move a package to the dead letters. Return False if its lease was lost."""
        return not self._settle(scripts.MOVE_TO_DEAD_LETTERS, [ack_id])

    def _settle(self, script: Script, ack_ids: Sequence[str], *options: int) -> list[str]:
        """Run *script* on leases and return those that were lost."""
        lost: list[str] = []
        # Packages are released to the head of the list, the last first.
        for start in reversed(range(0, len(ack_ids), MAX_SCRIPT_PACKAGES)):
            part = list(ack_ids[start : start + MAX_SCRIPT_PACKAGES])
            lost[:0] = [part[position - 1] for position in self._run(script, *options, *part)]
        return lost

    # -- dead letters ---------------------------------------------------------------------------------------------

    def dead_size(self) -> int:
        """Count the dead letters."""
        with converting_errors():
            return cast("int", self.connection.llen(self.dead_key))

    def requeue_dead(self, limit: int | None = None) -> int:
        """Append up to *limit* of the present dead letters to the queue, 1,000 per script; return their number."""
        size = self.dead_size()
        most = size if limit is None else min(limit, size)
        moved = 0
        while moved < most and (part := self._run(scripts.REQUEUE, min(most - moved, MAX_SCRIPT_PACKAGES))):
            moved += part
        return moved

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first."""
        if limit <= 0:
            return []
        with converting_errors():
            return [as_text(package) for package in self.connection.lrange(self.dead_key, 0, limit - 1)]

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package. Return False if there is none.

        A package that is no valid UTF-8 is compared in the form in which `list_dead` returns it.
        """
        with converting_errors():
            if self.connection.lrem(self.dead_key, 1, package):
                return True
            raw = self._raw_dead(package) if ESCAPED_BYTE in package else None
            return raw is not None and bool(self.connection.lrem(self.dead_key, 1, raw))

    def _raw_dead(self, package: str) -> bytes | None:
        """Return the bytes of the dead letter that `list_dead` returns as *package*."""
        for start in range(0, self.connection.llen(self.dead_key), MAX_SCRIPT_PACKAGES):
            part = self.connection.lrange(self.dead_key, start, start + MAX_SCRIPT_PACKAGES - 1)
            if raw := next((each for each in part if as_text(each) == package), None):
                return raw
        return None

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """Count the waiting packages of all priorities."""
        return cast("int", self._run(scripts.SIZE))

    def lock_size(self) -> int:
        """Count the leased packages, including expired leases that no sweep has found."""
        return cast("int", self._run(scripts.COUNT))

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return packages of one state, without leasing them. Leases that no sweep has found are listed, too."""
        if limit <= 0:
            return []
        packages, left = self._run(scripts.LIST, state.value, limit, offset)
        left = left or [0] * len(packages)
        return [ListedPackage(as_text(package), ms / 1000) for package, ms in zip(packages, left, strict=True)]

    def purge_queue(self) -> None:
        """Delete waiting and delayed packages. Leases and dead letters stay."""
        self._run(scripts.PURGE)

    def delete_queue(self) -> None:
        """Delete all keys of the queue, including dead letters."""
        self._run(scripts.DELETE)

    def ping(self) -> bool:
        """Return True if the server is available."""
        try:
            with converting_errors():
                return bool(self.connection.ping())
        except BrokerError:
            return False

    def info(self) -> str:
        """Return the name and version of the server."""
        with converting_errors():
            server = cast("dict[str, Any]", self.connection.info("server"))
        if "valkey_version" in server:
            return f"Valkey {server['valkey_version']}"
        return f"Redis {server['redis_version']}"

    def server_warnings(self) -> list[str]:
        """Return a sentence if a full server deletes packages."""
        policy = self._run(scripts.POLICY)
        policy = policy.decode() if isinstance(policy, bytes) else policy
        if not policy.startswith(EVICTS_PACKAGES):
            return []
        return [f"Redis deletes packages when its memory is full (maxmemory-policy is '{policy}'): set 'noeviction'"]

    # -- statistics -----------------------------------------------------------------------------------------------

    def set_stat(self, key: str, value: str, timeout: float) -> None:
        """Store the statistics of a cluster in a key that expires after *timeout* seconds."""
        with converting_errors():
            self._statistics().set(key, value, timeout)

    def get_stat(self, key: str) -> bytes | None:
        """Return the statistics under *key*; None if there are none."""
        with converting_errors():
            return self._statistics().get(key)

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """Return the statistics under all keys that match *pattern*."""
        with converting_errors():
            return self._statistics().all(pattern)

    def _statistics(self) -> RedisStats:
        return RedisStats(self.connection, self.settings.q_stat, self._listed)

    # -- scripts --------------------------------------------------------------------------------------------------

    def _keys(self) -> Keys:
        return keys_of(self.list_key)

    def _raw(self) -> Callable[..., Any]:
        """Return the function that runs commands on the client of this process."""
        client, raw = self._client_and_raw
        if client is not (now := self.connection):
            client, raw = self._client_and_raw = now, connection_of(now)
        return raw

    def _run(self, script: Script, *arguments: str | int) -> Any:
        keys = self._keys()
        with converting_errors():
            raw = self._raw()
            try:
                return evaluate(raw, self._source(script), keys, arguments)
            except ResponseError as error:
                self._use_old_scripts(error)
            return evaluate(raw, script.old, keys, arguments)

    def _use_old_scripts(self, refusal: ResponseError) -> None:
        """Switch to the scripts for old servers, if the server did not understand the flags of a script.

        Raises:
            ResponseError: the server rejected a script for another reason.
        """
        if self._rejects_flags or not scripts.rejects_flags(refusal):
            raise refusal
        self._rejects_flags = True

    def _source(self, script: Script) -> Source:
        return script.old if self._rejects_flags else script.current


def evaluate(raw: Callable[..., Any], source: Source, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    """Run a script by its SHA-1. Send the text if the server does not know it."""
    try:
        return raw("EVALSHA", source.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        return raw("EVAL", source.text, len(keys), *keys, *arguments)


def first_error(*replies: object) -> ResponseError | None:
    """Return the first reply that is an error."""
    return next((reply for reply in replies if isinstance(reply, ResponseError)), None)


def new_nonce() -> str:
    """Return the first part of tokens. It begins with the time, so that leases sort in the order of their begin."""
    return f"{time.time_ns():016x}{secrets.token_hex(4)}"


def delayed_token(priority: int) -> str:
    """Return a token for a delayed package."""
    token = secrets.token_hex(8)
    return f"{token}:0001:0:{priority}" if priority else token


def attempt_of(token: str) -> int:
    """Return the attempt number of a delivery. Its token has the number of earlier attempts, if any."""
    _nonce, _number, *ending = token.split(":")
    return 1 + int(ending[0]) if ending else 1


def milliseconds(seconds: float) -> int:
    """Return seconds as milliseconds, at least 1 for a positive number."""
    return max(round(seconds * 1000), 1) if seconds > 0 else 0
