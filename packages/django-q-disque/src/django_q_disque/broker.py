"""Disque as the broker."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from django_q.brokers import BulkBroker, Delivery
from django_q.brokers.base import as_text
from django_q.brokers.cache_counts import CacheCounts
from django_q.exceptions import BrokerError, ConfigurationError
from django_q.settings import current_settings
from redis.exceptions import ResponseError

from django_q_disque.errors import TOO_LATE, UNKNOWN, reaching
from django_q_disque.nodes import MAX_WAIT_SECONDS, Nodes, nodes_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.settings import ClusterSettings

REPLICATE_MILLISECONDS = 500
"""How long a job may take to reach the nodes that keep a copy of it."""

TTL_SECONDS = 365 * 86_400
"""Seconds after which Disque forgets a job, done or not; its own default is a day."""

MAX_JOBS = 1000
"""How many jobs one command carries."""


class Lease(NamedTuple):
    """The parts of an ack id."""

    job: str
    offers: int
    """Number of earlier offers of the job."""
    attempt: int
    """The attempt number of the delivery."""
    retry: int
    """Seconds after which the job is offered again; 0: never."""

    @classmethod
    def of(cls, ack_id: str) -> Lease:
        """Read an ack id."""
        job, offers, attempt, retry = ack_id.rsplit(":", 3)
        return cls(job, int(offers), int(attempt), int(retry))

    @property
    def ack_id(self) -> str:
        """The lease as an ack id."""
        return f"{self.job}:{self.offers}:{self.attempt}:{self.retry}"


class Job(NamedTuple):
    """A job as GETJOB delivers it."""

    id: str
    package: str | bytes
    offers: int
    """Number of earlier offers."""
    expired: int
    """Number of expired leases; the other offers followed a release before the start."""

    @classmethod
    def of(cls, delivery: Sequence[Any]) -> Job:
        """Read queue, id, body, and the names and values of counters."""
        counters = fields(delivery[3:])
        return cls(text(delivery[1]), delivery[2], offers_in(counters), int(counters["additional-deliveries"]))

    def delivered(self, earlier: int, retry: int) -> Delivery:
        """Return the delivery of a job.

        Args:
            earlier: attempts of the job that it replaced.
            retry: seconds after which it is offered again; 0: never.
        """
        attempt = 1 + earlier + self.expired
        return Delivery(Lease(self.id, self.offers, attempt, retry).ack_id, self.package, attempt)


class Disque(BulkBroker):
    """Packages are jobs of a Disque queue; a lease is the time until Disque offers an unacknowledged job again."""

    supports_delay = TTL_SECONDS / 2
    leases_vary = True
    blocks = True

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        # A job that is released for later is replaced by another one, whose counters begin at 0.
        self._earlier = CacheCounts(lambda: self.cache, lambda: self.list_key, "attempts")

    def connect(self) -> Nodes:
        return nodes_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Nodes:
        return nodes_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        self.connection.disconnect()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0) -> str:
        """Add a job. It is not sent again when a node falls silent before it answers: it may have been added."""
        if delay > self.supports_delay:
            raise BrokerError(f"Disque hides a package for {self.supports_delay:g} s at most: {delay:g}")
        options = ["DELAY", math.ceil(delay)] if delay > 0 else []
        return self._add(as_text(package), *options)

    def _add(self, package: str | bytes, *options: Any) -> str:
        words = [self.list_key, package, REPLICATE_MILLISECONDS, "RETRY", self._lease_seconds(), "TTL", TTL_SECONDS]
        with reaching():
            return text(self.connection.run("ADDJOB", *words, *options, repeatable=False))

    def _lease_seconds(self) -> int:
        return max(math.ceil(self.settings.retry), 1)

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Take up to *limit* packages."""
        count = min(self.wanted(limit), MAX_JOBS)
        deadline = time.monotonic() + wait
        while count > 0:
            pause = min(deadline - time.monotonic(), MAX_WAIT_SECONDS)
            hang = ["TIMEOUT", math.ceil(pause * 1000)] if pause > 0 else ["NOHANG"]
            with reaching():
                jobs = self.connection.run("GETJOB", *hang, "COUNT", count, "WITHCOUNTERS", "FROM", self.list_key)
                if jobs or pause <= 0:
                    return self._delivered([Job.of(job) for job in jobs or ()])
        return []

    def _delivered(self, jobs: Sequence[Job]) -> list[Delivery]:
        earlier = self._earlier.read([job.id for job in jobs])
        retries = self._retries([job.id for job in jobs])
        return [job.delivered(earlier.get(job.id, 0), retries[job.id]) for job in jobs]

    def _retries(self, jobs: Sequence[str]) -> dict[str, int]:
        """Return the RETRY of jobs, in seconds: their senders chose it; ours for jobs that are gone."""
        ours = self._lease_seconds()
        shown = self.connection.run_all([["SHOW", job] for job in jobs]) if jobs else []
        known = zip(jobs, shown, strict=True)
        return {job: int(fields(each)["retry"]) if isinstance(each, list) else ours for job, each in known}

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        lost = self._settle("FASTACK" if self.settings.disque_fastack else "ACKJOB", ack_ids)
        leases = [Lease.of(ack_id) for ack_id in ack_ids]
        self._earlier.forget(lease.job for lease in leases if lease.attempt > 1)
        return lost

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Begin the time until a job is offered again anew; Disque does so in the first half of the job's life."""
        return self._settle("WORKING", ack_ids)

    def lease_seconds(self, ack_id: str) -> float:
        """Return how long a lease lasts, in seconds: the RETRY of the job, `retry` if that is shorter."""
        return min(Lease.of(ack_id).retry or math.inf, self.settings.retry)

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Offer jobs again; those that are hidden first are replaced by other jobs."""
        if delay <= 0:
            return self._settle("NACK", ack_ids)
        lost, delay = self._lost(ack_ids), min(delay, self.supports_delay)
        return [ack_id for ack_id in ack_ids if ack_id in lost or not self._replace(Lease.of(ack_id), delay)]

    def _replace(self, lease: Lease, delay: float) -> bool:
        """Add a job with the same package, hidden for *delay* seconds, after *lease* as a counted attempt."""
        with reaching():
            known = [shown for shown in answered(self.connection.everywhere("SHOW", lease.job)) if shown]
        if not known:
            return False
        job = self._add(fields(known[0])["body"], "DELAY", math.ceil(delay))
        self._earlier.add([job], lease.attempt)
        return not self._tell("ACKJOB", [lease.job])

    def _settle(self, command: str, ack_ids: Sequence[str]) -> list[str]:
        """Do something to the jobs whose lease is ours still, and give the ids of the others."""
        lost = self._lost(ack_ids)
        jobs = {ack_id: Lease.of(ack_id).job for ack_id in ack_ids if ack_id not in lost}
        unknown = set(self._tell(command, list(dict.fromkeys(jobs.values()))))
        return [ack_id for ack_id in ack_ids if ack_id in lost or jobs[ack_id] in unknown]

    def _lost(self, ack_ids: Sequence[str]) -> set[str]:
        """Whose job has been offered again since.

        Several nodes do not count alike, so that only the answer of a single node is an answer.
        """
        if len(self.connection) > 1:
            return set()
        leases = [Lease.of(ack_id) for ack_id in ack_ids]
        with reaching():
            shown = self.connection.run_all([["SHOW", lease.job] for lease in leases]) if leases else []
        known = [(lease, fields(job)) for lease, job in zip(leases, shown, strict=True) if isinstance(job, list)]
        return {lease.ack_id for lease, job in known if offers_in(job) > lease.offers}

    def _tell(self, command: str, jobs: Sequence[str]) -> list[str]:
        """Give a command about each job, and give those jobs that no node knows.

        The node in use is asked first. It need not have a copy of a job that another process took from another node.
        """
        unknown: list[str] = []
        with reaching():
            for start in range(0, len(jobs), MAX_JOBS):
                part = jobs[start : start + MAX_JOBS]
                answers = self.connection.run_all([[command, job] for job in part])
                unknown += [job for job, answer in zip(part, answers, strict=True) if not took(answer)]
            if len(self.connection) > 1:
                unknown = [job for job in unknown if not any(map(took, self.connection.everywhere(command, job)))]
        return unknown

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """How many jobs wait on the nodes that can be reached, without those under a lease and those hidden."""
        with reaching():
            return sum(map(int, answered(self.connection.everywhere("QLEN", self.list_key))))

    def purge_queue(self) -> None:
        """Forget what waits and what is hidden; jobs under a lease stay."""
        with reaching():
            hidden = self._hidden()
            # Those that have come out of hiding since then wait now.
            waiting = self._ids(self.list_key, "STATE", "queued")
        self._tell("ACKJOB", sorted(hidden | waiting))

    def _hidden(self) -> set[str]:
        """Return the ids of jobs whose delay has not ended: Disque calls these and leased ones active."""
        found = self.connection.pages("JSCAN", "QUEUE", self.list_key, "STATE", "active", "REPLY", "all")
        active = [fields(job) for job in found]
        seconds, microseconds = map(int, self.connection.run("TIME"))
        now = seconds + microseconds / 1e6
        return {text(job["id"]) for job in active if int(job["ctime"]) / 1e9 + int(job["delay"]) > now}

    def delete_queue(self) -> None:
        """Forget the jobs of the queue and those of its dead letters."""
        with reaching():
            jobs = self._ids(self.list_key) | self._ids(self.dead_key)
        self._tell("ACKJOB", sorted(jobs))

    def _ids(self, queue: str, *which: str) -> set[str]:
        return {text(job) for job in self.connection.pages("JSCAN", "QUEUE", queue, *which, "REPLY", "id")}

    def ping(self) -> bool:
        try:
            with reaching():
                self.connection.run("HELLO")
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        with reaching():
            lines = text(self.connection.run("INFO", "server")).splitlines()
        server = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"Disque {server.get('disque_version', '')}".rstrip()


def took(answer: Any) -> bool:
    """Did the node know the job, and did it do what it was told?"""
    if isinstance(answer, ResponseError) and not str(answer).startswith((*UNKNOWN, TOO_LATE)):
        raise answer
    return str(answer).startswith(TOO_LATE) or (isinstance(answer, int) and answer > 0)


def answered(answers: Sequence[Any]) -> list[Any]:
    """Return the answers without the refusals.

    Raises:
        ResponseError: each node refuses.
    """
    found = [answer for answer in answers if not isinstance(answer, ResponseError)]
    if not found:
        raise answers[0]
    return found


def offers_in(counters: dict[str, Any]) -> int:
    """How often a job was given back, or came back by itself."""
    return int(counters["nacks"]) + int(counters["additional-deliveries"])


def fields(shown: Sequence[Any]) -> dict[str, Any]:
    """A flat list of names and values as a dictionary."""
    return dict(zip(map(text, shown[::2]), shown[1::2], strict=True))


def text(value: Any) -> str:
    """What Disque said, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
