"""Broker that keeps packages in Disque."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from django_q.brokers import BulkBroker, Delivery
from django_q.brokers.bands import BANDS, Band, BandOrder, band_name_problem, bands_of, queue_of
from django_q.brokers.base import as_text
from django_q.brokers.cache_counts import CacheCounts
from django_q.exceptions import BrokerError, ConfigurationError
from django_q.settings import current_settings
from redis.exceptions import ResponseError

from django_q_disque.errors import TOO_LATE, UNKNOWN_JOB_CODES, converting_errors
from django_q_disque.nodes import MAX_WAIT_SECONDS, Nodes, nodes_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.settings import ClusterSettings

REPLICATE_MILLISECONDS = 500
"""Maximum time in which a job reaches the nodes that keep a copy of it."""

TTL_SECONDS = 365 * 86_400
"""Time after which Disque deletes a job, acknowledged or not. The default of Disque is a day."""

MAX_JOBS = 1000
"""Maximum number of jobs of one fetch or round trip."""


class Lease(NamedTuple):
    """Parts of an ack id."""

    job: str
    """Id of the job."""
    offers: int
    """Number of earlier deliveries of the job."""
    attempt: int
    """Attempt number of the delivery."""
    retry: int
    """Seconds after which the job is redelivered; 0: never."""

    @classmethod
    def of(cls, ack_id: str) -> Lease:
        """Parse an ack id."""
        job, offers, attempt, retry = ack_id.rsplit(":", 3)
        return cls(job, int(offers), int(attempt), int(retry))

    @property
    def ack_id(self) -> str:
        """Ack id of the lease."""
        return f"{self.job}:{self.offers}:{self.attempt}:{self.retry}"


class Job(NamedTuple):
    """Job that GETJOB returned."""

    id: str
    package: str | bytes
    offers: int
    """Number of earlier deliveries."""
    expired: int
    """Number of expired leases. The other redeliveries followed a release before the start."""

    @classmethod
    def of(cls, delivery: Sequence[Any]) -> Job:
        """Parse queue, id, body, and the names and values of counters."""
        counters = fields(delivery[3:])
        return cls(text(delivery[1]), delivery[2], offers_in(counters), int(counters["additional-deliveries"]))

    def delivered(self, earlier: int, retry: int) -> Delivery:
        """Return the delivery of a job.

        Args:
            earlier: number of attempts of the job that it replaced.
            retry: seconds after which it is redelivered; 0: never.
        """
        attempt = 1 + earlier + self.expired
        return Delivery(Lease(self.id, self.offers, attempt, retry).ack_id, self.package, attempt)


class Disque(BulkBroker):
    """Broker for Disque. A package is a job, and its lease is the time until Disque redelivers it."""

    supports_delay = TTL_SECONDS / 2
    leases_vary = True
    priorities = len(BANDS)
    blocks = True

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        # A job that is released with a delay is replaced by another one, whose counters begin at 0.
        self._earlier = CacheCounts(lambda: self.cache, lambda: self.list_key, "attempts")
        self._order = BandOrder()

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return why no cluster can have this name: its queue may be the band of another cluster. None if it can."""
        return band_name_problem(name)

    def connect(self) -> Nodes:
        return nodes_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Nodes:
        return nodes_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        self.connection.disconnect()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> str:
        """Add a job to the queue of its band.

        If a node does not answer, the command is not repeated, because the job may have been added.
        """
        if delay > self.supports_delay:
            raise BrokerError(
                f"Disque delays a package by at most {self.supports_delay:g} s, not {delay:g} s: use a schedule."
            )
        options = ["DELAY", math.ceil(delay)] if delay > 0 else []
        return self._add(queue_of(self.list_key, Band.of(priority)), as_text(package), *options)

    def _add(self, queue: str | bytes, package: str | bytes, *options: Any) -> str:
        words = [queue, package, REPLICATE_MILLISECONDS, "RETRY", self._lease_seconds(), "TTL", TTL_SECONDS]
        with converting_errors():
            return text(self.connection.run("ADDJOB", *words, *options, repeatable=False))

    def _lease_seconds(self) -> int:
        return max(math.ceil(self.settings.retry), 1)

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Fetch up to *limit* packages, from all bands with one command."""
        count = min(self.wanted(limit), MAX_JOBS)
        deadline = time.monotonic() + wait
        order = self._order.next(fair=self.is_fair_fetch())
        if count > 0 and order != BANDS and (jobs := self._jobs_fairly(order, count)):
            return self._delivered(jobs)
        while count > 0:
            pause = min(deadline - time.monotonic(), MAX_WAIT_SECONDS)
            hang = ["TIMEOUT", math.ceil(pause * 1000)] if pause > 0 else ["NOHANG"]
            with converting_errors():
                jobs = self.connection.run("GETJOB", *hang, *self._which(BANDS, count))
                if jobs or pause <= 0:
                    return self._delivered([Job.of(job) for job in jobs or ()])
        return []

    def _jobs_fairly(self, order: Sequence[Band], count: int) -> list[Job]:
        """Fetch one job of the first band in *order* that has some, then others, in one round trip."""
        counts = [(order, 1), *([(BANDS, count - 1)] if count > 1 else [])]
        commands = [["GETJOB", "NOHANG", *self._which(bands, number)] for bands, number in counts]
        with converting_errors():
            answers = self.connection.run_all(commands)
            return [Job.of(job) for jobs in answered(answers) for job in jobs or ()]

    def _which(self, order: Sequence[Band], count: int) -> list[Any]:
        """Return the words of GETJOB for up to *count* jobs of the bands, the first one first."""
        return ["COUNT", count, "WITHCOUNTERS", "FROM", *self._queues(order)]

    def _delivered(self, jobs: Sequence[Job]) -> list[Delivery]:
        earlier = self._earlier.read([job.id for job in jobs])
        retries = self._retries([job.id for job in jobs])
        return [job.delivered(earlier.get(job.id, 0), retries[job.id]) for job in jobs]

    def _retries(self, jobs: Sequence[str]) -> dict[str, int]:
        """Return the RETRY of jobs in seconds, which their senders chose; that of the settings for deleted jobs."""
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
        """Renew leases. Disque accepts it in the first half of the job's life; later, the lease stays as it is."""
        return self._settle("WORKING", ack_ids)

    def lease_seconds(self, ack_id: str) -> float:
        """Return the duration of a lease in seconds: the RETRY of the job, or `retry` if that is shorter."""
        return min(Lease.of(ack_id).retry or math.inf, self.settings.retry)

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Release jobs. With a delay, each is replaced by another job."""
        if delay <= 0:
            return self._settle("NACK", ack_ids)
        lost, delay = self._lost(ack_ids), min(delay, self.supports_delay)
        return [ack_id for ack_id in ack_ids if ack_id in lost or not self._replace(Lease.of(ack_id), delay)]

    def _replace(self, lease: Lease, delay: float) -> bool:
        """Replace a job by one with the same package and a delay, and count the attempt of *lease*.

        Returns:
            False if the job does not exist any more.
        """
        with converting_errors():
            known = [shown for shown in answered(self.connection.run_on_all("SHOW", lease.job)) if shown]
        if not known:
            return False
        old = fields(known[0])
        job = self._add(old["queue"], old["body"], "DELAY", math.ceil(delay))
        self._earlier.add([job], lease.attempt)
        return not self._command("ACKJOB", [lease.job])

    def _settle(self, command: str, ack_ids: Sequence[str]) -> list[str]:
        """Apply a command to the jobs whose leases are held, and return the ack ids of lost leases."""
        lost = self._lost(ack_ids)
        jobs = {ack_id: Lease.of(ack_id).job for ack_id in ack_ids if ack_id not in lost}
        unknown = set(self._command(command, list(dict.fromkeys(jobs.values()))))
        return [ack_id for ack_id in ack_ids if ack_id in lost or jobs[ack_id] in unknown]

    def _lost(self, ack_ids: Sequence[str]) -> set[str]:
        """Return the ack ids whose jobs were delivered again since.

        Several nodes have different counters, so that the result is only known for a single node.
        """
        if len(self.connection) > 1:
            return set()
        leases = [Lease.of(ack_id) for ack_id in ack_ids]
        with converting_errors():
            shown = self.connection.run_all([["SHOW", lease.job] for lease in leases]) if leases else []
        known = [(lease, fields(job)) for lease, job in zip(leases, shown, strict=True) if isinstance(job, list)]
        return {lease.ack_id for lease, job in known if offers_in(job) > lease.offers}

    def _command(self, command: str, jobs: Sequence[str]) -> list[str]:
        """Apply a command to each job, and return the jobs that no node knows.

        The node in use gets it first. It may have no copy of a job that another process fetched from another node.
        """
        unknown: list[str] = []
        with converting_errors():
            for start in range(0, len(jobs), MAX_JOBS):
                part = jobs[start : start + MAX_JOBS]
                answers = self.connection.run_all([[command, job] for job in part])
                unknown += [job for job, answer in zip(part, answers, strict=True) if not has_executed(answer)]
            if len(self.connection) > 1:
                unknown = [
                    job for job in unknown if not any(map(has_executed, self.connection.run_on_all(command, job)))
                ]
        return unknown

    # -- the queue ------------------------------------------------------------------------------------------------

    def _queues(self, order: Sequence[Band] = BANDS) -> list[str]:
        """Return the names of the queues of the bands."""
        bands = bands_of(self.list_key)
        return [queue_of(self.list_key, band) for band in order if band in bands]

    def queue_size(self) -> int:
        """Return the number of waiting jobs of all bands on all reachable nodes, without leased and delayed ones."""
        commands = [["QLEN", queue] for queue in self._queues()]
        with converting_errors():
            return sum(map(int, answered(self.connection.run_all_on_all(commands))))

    def purge_queue(self) -> None:
        """Delete waiting and delayed jobs; leased ones stay."""
        jobs: set[str] = set()
        with converting_errors():
            for queue in self._queues():
                jobs |= self._hidden(queue)
                # This order finds jobs whose delay ends in between.
                jobs |= self._ids(queue, "STATE", "queued")
        self._command("ACKJOB", sorted(jobs))

    def _hidden(self, queue: str) -> set[str]:
        """Return the ids of delayed jobs. Disque calls them active, and leased ones, too."""
        found = self.connection.pages("JSCAN", "QUEUE", queue, "STATE", "active", "REPLY", "all")
        active = [fields(job) for job in found]
        seconds, microseconds = map(int, self.connection.run("TIME"))
        now = seconds + microseconds / 1e6
        return {text(job["id"]) for job in active if int(job["ctime"]) / 1e9 + int(job["delay"]) > now}

    def delete_queue(self) -> None:
        """Delete the jobs of the queues of all bands, and of the dead-letter queue."""
        with converting_errors():
            jobs = {job for queue in (*self._queues(), self.dead_key) for job in self._ids(queue)}
        self._command("ACKJOB", sorted(jobs))

    def _ids(self, queue: str, *which: str) -> set[str]:
        return {text(job) for job in self.connection.pages("JSCAN", "QUEUE", queue, *which, "REPLY", "id")}

    def ping(self) -> bool:
        try:
            with converting_errors():
                self.connection.run("HELLO")
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        with converting_errors():
            lines = text(self.connection.run("INFO", "server")).splitlines()
        server = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"Disque {server.get('disque_version', '')}".rstrip()


def has_executed(answer: Any) -> bool:
    """Return True if a node knows the job and has executed the command.

    Raises:
        ResponseError: the node rejects the command for another reason.
    """
    if isinstance(answer, ResponseError) and not str(answer).startswith((*UNKNOWN_JOB_CODES, TOO_LATE)):
        raise answer
    return str(answer).startswith(TOO_LATE) or (isinstance(answer, int) and answer > 0)


def answered(answers: Sequence[Any]) -> list[Any]:
    """Return the answers of nodes that executed a command.

    Raises:
        ResponseError: all nodes reject it.
    """
    found = [answer for answer in answers if not isinstance(answer, ResponseError)]
    if not found:
        raise answers[0]
    return found


def offers_in(counters: dict[str, Any]) -> int:
    """Return the number of redeliveries of a job, after a release or an expired lease."""
    return int(counters["nacks"]) + int(counters["additional-deliveries"])


def fields(shown: Sequence[Any]) -> dict[str, Any]:
    """Convert a flat list of names and values into a dictionary."""
    return dict(zip(map(text, shown[::2]), shown[1::2], strict=True))


def text(value: Any) -> str:
    """Convert a value of Disque into text."""
    return value.decode() if isinstance(value, bytes) else str(value)
