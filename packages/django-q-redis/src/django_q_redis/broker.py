"""Redis and Valkey as the broker."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import redis
from django_q.brokers import BulkBroker, Delivery
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.settings import current_settings
from redis.exceptions import NoScriptError, ResponseError

from django_q_redis import scripts
from django_q_redis.client import client_for, longest_wait, prepare
from django_q_redis.errors import is_out_of_memory, lacking, reaching
from django_q_redis.keys import keys_of
from django_q_redis.limits import sending
from django_q_redis.raw_connection import Line, line_of
from django_q_redis.stats import RedisStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings

    from django_q_redis.client import Client
    from django_q_redis.keys import Keys
    from django_q_redis.scripts import Script, Source

MOST = 1000
"""How many packages one script moves: Lua takes no more arguments than fit its stack."""

LARGE = 16 * 1024
"""Bytes of a package beyond which the next are moved to lists of their own: the server writes less for them."""

SWEEP = 5.0
"""Seconds after which an idle broker looks for leases of others that are over; less when `retry` is short."""

LOOK = 2.0
"""Seconds after which an idle broker looks whether others have hidden a package for a while."""

SHORTEST = 0.01
"""Seconds that a command blocks at least: Redis 6.2 takes a millisecond for nothing, which means for ever."""

EVICTS_PACKAGES = "allkeys-"
"""Beginning of the `maxmemory-policy` values with which a full server deletes keys that have no expiry."""


class Redis(BulkBroker):
    """Packages wait in a Redis list; what is being worked on waits in Redis under a lease."""

    supports_delay = 10 * 365 * 86_400.0
    supports_lock_size = True
    supports_dead_letters = True
    supports_prefetch = True
    keeps_statistics = True
    # Redis never repeated a failed task before it had receipts: an upgrade must not begin to.
    acknowledges_failures = True
    blocks = True

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        # By the monotonic clock: when to offer what is due, and when to look for newly hidden packages.
        self._sweep_at = 0.0
        self._look_at = 0.0
        self._first_hidden: list[Any] | None = None
        self._flowing = False
        self._large = False
        self._is_permitted = False
        self._knows_no_flags = False
        self._listed: dict[str, float] = {}
        self._client_and_line: tuple[Any, Callable[..., Any]] = None, line_of

    @classmethod
    def queue_key(cls, name: str) -> str:
        """Name the list that every version of Django Q uses."""
        return f"django_q:{name}:q"

    @property
    def dead_key(self) -> str:
        """Name the list of dead letters."""
        return self._keys().dead

    @classmethod
    def prepare(cls, settings: ClusterSettings) -> None:
        """Make a client that forks take over."""
        prepare(settings)

    def connect(self) -> Client:
        """Give this process's client."""
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Client:
        """Give the client of the settings of this moment."""
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        client = self.connection
        if isinstance(client, redis.Redis):
            client.connection_pool.disconnect()
        else:
            client.disconnect_connection_pools()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0) -> int | str:
        """Append a package; its id is the length of the list, or the token of a hidden one."""
        if delay > 0:
            token = secrets.token_hex(8)
            with self._sending([package]):
                self._run(scripts.HIDE, token, milliseconds(delay), package)
            self._sweep_at = 0.0
            return token
        with self._sending([package]):
            return cast("int", self._line()("RPUSH", self.list_key, package))

    def enqueue_many(self, packages: Sequence[str]) -> list[int]:
        """Append packages, in one command: if the server refuses one, it takes none."""
        if not packages:
            return []
        with self._sending(packages):
            length = cast("int", self._line()("RPUSH", self.list_key, *packages))
        return list(range(length - len(packages) + 1, length + 1))

    def enqueue_links(self, packages: Sequence[str]) -> None:
        """Append the next links of chains, even if the server has no memory for others."""
        with self._sending(packages):
            try:
                self._line()("RPUSH", self.list_key, *packages)
            except ResponseError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return
            for start in range(0, len(packages), MOST):
                self._run(scripts.APPEND, *packages[start : start + MOST])

    def _sending(self, packages: Sequence[str]) -> sending:
        return sending(lambda: self.connection, self.list_key, packages)

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages; block until one comes, at most *wait* seconds."""
        if limit < 1:
            return []
        try:
            self._check_permissions()
            return self._fetch(limit, wait)
        except BrokerUnavailable:
            self._is_permitted = False  # it may be another server, or user, the next time
            raise

    def _check_permissions(self) -> None:
        """Find out, before anything is fetched, whether the user may do all that follows.

        Raises:
            BrokerUnavailable: it may not; the message names the commands.
        """
        if self._is_permitted:
            return
        missing = [each.decode() if isinstance(each, bytes) else each for each in self._run(scripts.MISSING)]
        if missing:
            raise lacking(missing)
        self._is_permitted = True

    def _fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        found: list[Delivery] = []
        if self._is_due() or wait <= 0:
            found = self._reserve(limit)
        while not found and (now := time.monotonic()) < deadline:
            if self._look_at <= now:
                self._look()
            pause = min(deadline - now, self._sweep_at - now, LOOK)
            if self._flowing and isinstance(line := self._line(), Line):
                found = self._expect(line, pause)
                self._flowing = bool(found)
            elif self._something_waits(pause) or self._is_due():
                found = self._reserve(limit)
        if found:
            # Where something was, there may be more: ask at once next time, and wait with a lease in hand.
            self._sweep_at = 0.0
            self._flowing = True
        return found

    def _is_due(self) -> bool:
        return self._sweep_at <= time.monotonic()

    def _look(self) -> None:
        """Sweep at once when another package than before is the first that will be offered."""
        self._look_at = time.monotonic() + LOOK
        with reaching():
            first = self.connection.zrange(self._keys().delayed, 0, 0)
        if first and first != self._first_hidden:
            self._sweep_at = 0.0
        self._first_hidden = first

    def _reserve(self, limit: int) -> list[Delivery]:
        """Lease what is there."""
        nonce = new_nonce()
        retry = self.settings.retry
        due, *found = self._run(scripts.RESERVE, min(limit, MOST), milliseconds(retry), nonce, int(self._large))
        soonest = due / 1000 if due >= 0 else SWEEP
        self._sweep_at = time.monotonic() + min(SWEEP, retry / 2, soonest)
        named, *packages = found or [[]]
        if packages:
            self._large = max(map(len, packages)) > LARGE
        tokens = [token.decode() if isinstance(token, bytes) else token for token in named]
        tokens = tokens or [f"{nonce}:{number:04}" for number in range(1, len(packages) + 1)]
        return [Delivery(token, package, attempt_of(token)) for token, package in zip(tokens, packages, strict=True)]

    def _expect(self, line: Line, wait: float) -> list[Delivery]:
        """Begin a lease and wait for its package; when one arrives, nothing else remains to do."""
        keys = self._keys()
        token = f"{new_nonce()}:0000"
        alone = f"{keys.leases}:{token}"
        pause = self._pause(wait)
        retry = milliseconds(self.settings.retry)
        length = retry + milliseconds(pause)
        with reaching():
            begun, package, confirmed = line.replies(
                ("EVAL", self._source(scripts.EXPECT).text, 1, keys.leases, length, token),
                ("BLMOVE", self.list_key, alone, "LEFT", "LEFT", pause),
                ("EVAL", self._source(scripts.CONFIRM).text, 3, keys.leases, alone, keys.attempts, retry, token),
            )
            if refused := first_error(begun, confirmed):
                line("LMOVE", alone, self.list_key, "LEFT", "LEFT")  # nothing may stay there without a lease
                self._learn(refused)
                return []
            if isinstance(package, ResponseError):
                self._wait_without_memory(package, pause)
        if confirmed < 0:
            return []
        return [Delivery(f"{token}:{confirmed}" if confirmed else token, package, confirmed + 1)]

    def _something_waits(self, wait: float) -> bool:
        """Wait until the list has a package, without taking it: its head is moved onto itself."""
        pause = self._pause(wait)
        with reaching():
            try:
                return self._line()("BLMOVE", self.list_key, self.list_key, "LEFT", "LEFT", pause) is not None
            except ResponseError as error:
                self._wait_without_memory(error, pause)
                return self._line()("LLEN", self.list_key) > 0

    def _wait_without_memory(self, refusal: ResponseError, wait: float) -> None:
        """Sleep where the server has no memory for a command that blocks: only released packages can arrive now.

        Raises:
            ResponseError: the server refused it for another reason.
        """
        if not is_out_of_memory(refusal):
            raise refusal
        time.sleep(min(wait, self.settings.poll))

    def _pause(self, wait: float) -> float:
        return min(max(wait, SHORTEST), longest_wait(self.connection))

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        """Forget leased packages, in one step."""
        return self._settle(scripts.ACKNOWLEDGE, ack_ids)

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Begin leases again, in one step."""
        return self._settle(scripts.RENEW, ack_ids, milliseconds(self.settings.retry))

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Offer packages again, in one step."""
        return self._settle(scripts.RELEASE, ack_ids, milliseconds(delay))

    def expire(self, ack_id: str) -> bool:
        """Expire a lease now."""
        return not self._settle(scripts.EXPIRE, [ack_id], milliseconds(self.settings.retry))

    def fail(self, ack_id: str) -> bool:
        """Move a package to the dead letters."""
        return not self._settle(scripts.MOVE_TO_DEAD_LETTERS, [ack_id])

    def _settle(self, script: Script, ack_ids: Sequence[str], *options: int) -> list[str]:
        """Run *script* on leases and give those that were lost."""
        lost: list[str] = []
        for start in reversed(range(0, len(ack_ids), MOST)):  # packages are offered again at the head, the last first
            part = list(ack_ids[start : start + MOST])
            lost[:0] = [part[position - 1] for position in self._run(script, *options, *part)]
        return lost

    # -- dead letters ---------------------------------------------------------------------------------------------

    def dead_size(self) -> int:
        """Count the dead letters."""
        with reaching():
            return cast("int", self.connection.llen(self.dead_key))

    def requeue_dead(self, limit: int | None = None) -> int:
        """Append the dead letters that there are now to the queue, a thousand a step."""
        size = self.dead_size()
        most = size if limit is None else min(limit, size)
        moved = 0
        while moved < most and (part := self._run(scripts.EXHUME, min(most - moved, MOST))):
            moved += part
        return moved

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """Count what waits."""
        with reaching():
            return cast("int", self.connection.llen(self.list_key))

    def lock_size(self) -> int:
        """Count the leased packages, those whose leases ended but were not noticed included."""
        return cast("int", self._run(scripts.COUNT))

    def purge_queue(self) -> None:
        """Forget what waits and what is hidden; leases and dead letters stay."""
        self._run(scripts.PURGE)

    def delete_queue(self) -> None:
        """Forget all keys of the queue, dead letters included."""
        self._run(scripts.DELETE)

    def ping(self) -> bool:
        """Does the server answer?"""
        try:
            with reaching():
                return bool(self.connection.ping())
        except BrokerError:
            return False

    def info(self) -> str:
        """Name the server and its version."""
        with reaching():
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
        """Keep a cluster's statistics in a key that ends by itself."""
        with reaching():
            self._statistics().set(key, value, timeout)

    def get_stat(self, key: str) -> bytes | None:
        """Give the statistics under *key*."""
        with reaching():
            return self._statistics().get(key)

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """Give all statistics under keys that match."""
        with reaching():
            return self._statistics().all(pattern)

    def _statistics(self) -> RedisStats:
        return RedisStats(self.connection, self.settings.q_stat, self._listed)

    # -- scripts --------------------------------------------------------------------------------------------------

    def _keys(self) -> Keys:
        return keys_of(self.list_key)

    def _line(self) -> Callable[..., Any]:
        """What runs commands on the client of this process."""
        client, line = self._client_and_line
        if client is not (now := self.connection):
            client, line = self._client_and_line = now, line_of(now)
        return line

    def _run(self, script: Script, *arguments: str | int) -> Any:
        keys = self._keys()
        with reaching():
            line = self._line()
            try:
                return evaluate(line, self._source(script), keys, arguments)
            except ResponseError as error:
                self._learn(error)
            return evaluate(line, script.old, keys, arguments)

    def _learn(self, refusal: ResponseError) -> None:
        """Use the old text of scripts from now on, if the server did not understand the other.

        Raises:
            ResponseError: it refused a script for another reason.
        """
        if self._knows_no_flags or not scripts.knows_no_flags(refusal):
            raise refusal
        self._knows_no_flags = True

    def _source(self, script: Script) -> Source:
        return script.old if self._knows_no_flags else script.current


def evaluate(line: Callable[..., Any], source: Source, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    """Run a script by its name; a server that does not know it is given the text."""
    try:
        return line("EVALSHA", source.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        return line("EVAL", source.text, len(keys), *keys, *arguments)


def first_error(*replies: object) -> ResponseError | None:
    """Return the first reply that is an error."""
    return next((reply for reply in replies if isinstance(reply, ResponseError)), None)


def new_nonce() -> str:
    """Begin tokens: leases that end in the same instant go back in the order in which they were taken."""
    return f"{time.time_ns():016x}{secrets.token_hex(4)}"


def attempt_of(token: str) -> int:
    """Return the attempt number of a delivery: its token ends with the number of earlier attempts, if any."""
    _nonce, _number, *attempts = token.split(":")
    return 1 + int(attempts[0]) if attempts else 1


def milliseconds(seconds: float) -> int:
    """Seconds as Redis counts them, never rounded to nothing."""
    return max(round(seconds * 1000), 1) if seconds > 0 else 0
