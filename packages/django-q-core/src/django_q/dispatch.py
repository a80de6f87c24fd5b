"""Sending a task, running one inline, and everything that follows an outcome.

The whole life of a task but the waiting: nothing here needs a process or a queue.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q import signals
from django_q.context import running
from django_q.execution import Executor
from django_q.hooks import run_hook
from django_q.models import Schedule, Task
from django_q.results.chains import Chains
from django_q.results.iters import Iters, gather
from django_q.results.store import ResultStore
from django_q.signing import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from django_q.brokers import Broker
    from django_q.outcome import Outcome
    from django_q.package import TaskPackage
    from django_q.settings import ClusterSettings

logger = logging.getLogger("django-q")


def send(package: TaskPackage, *, broker: Broker, settings: ClusterSettings, delay: float = 0) -> None:
    """Sign a package and put it on the broker's queue.

    Args:
        package: the task.
        broker: where it waits.
        settings: of the cluster that signs.
        delay: seconds before it is offered to a worker.

    Raises:
        BrokerUnavailable: it was not queued.
        PackageTooLarge: the broker's product does not take it.
    """
    signed = PackageCodec.of(settings).dumps(package)
    if delay:
        broker.enqueue(signed, delay=delay)
    else:
        broker.enqueue(signed)
    logger.debug("Pushed (%r, %r)", package["name"], package["id"])


def send_many(packages: Sequence[TaskPackage], *, broker: Broker, settings: ClusterSettings) -> None:
    """Sign packages and put them on the broker's queue, in order.

    Raises:
        BrokerError: some may be queued and others not, unless all this happens in one transaction.
    """
    codec = PackageCodec.of(settings)
    broker.enqueue_many([codec.dumps(package) for package in packages])


def run_inline(package: TaskPackage, *, settings: ClusterSettings, executor: Executor | None = None) -> Executor:
    """Run a task here and now, and all that follows it.

    No broker is asked, no connection is closed, the caller's transaction is respected.

    Args:
        package: the task.
        settings: of the cluster it would have run in.
        executor: runs it; None makes one.

    Returns:
        The executor: its `exception` is what the task raised.
    """
    executor = executor or Executor(settings)
    finisher = Finisher(settings, broker=None)
    waiting, exception = [package], None
    while waiting:
        following = finisher.finish([executor.execute(waiting.pop(0))])
        waiting += [executor.codec.loads(each) for each in following]
        exception = exception or executor.exception
    executor.exception = exception
    return executor


def run_iter_inline(
    members: Sequence[TaskPackage], collation: TaskPackage, said: Mapping[str, Any], *, settings: ClusterSettings
) -> Executor:
    """Run the members of an iter here and now, one after another, and save their results as one. It needs no cache.

    Args:
        members: in the order of the arguments.
        collation: the task that has their results.
        said: what a member says of the iter.
        settings: of the cluster it would have run in.

    Returns:
        The executor: its `exception` is what the first member that failed raised.
    """
    executor, finisher = Executor(settings), Finisher(settings, broker=None)
    texts: list[str] = []
    exception = None
    for member in members:
        outcome = executor.execute(member)
        exception = exception or executor.exception
        finisher.announce([outcome])
        texts.append(outcome.finished or "")
    finished = [executor.codec.loads(text) for text in texts]
    restated = gather(collation["id"], finished, len(members), said, size=sum(map(len, texts)))
    finisher.finish([executor.restate(collation, restated)])
    executor.exception = exception
    return executor


def acknowledges(outcome: Outcome, *, settings: ClusterSettings, broker: Broker) -> bool:
    """Decide whether the broker may forget a task. This is the only place where it is decided.

    Args:
        outcome: of an attempt.
        settings: of the cluster.
        broker: whose product may have a rule of its own for failures.

    Returns:
        True for a success, for a failure that is not to be tried again, and when `max_attempts` are used up.
    """
    return outcome.success or is_last(outcome.ack_failure, outcome.attempt, settings=settings, broker=broker)


def is_last(ack_failure: bool | None, attempt: int, *, settings: ClusterSettings, broker: Broker) -> bool:
    """Decide whether a failed task is not tried again.

    Args:
        ack_failure: what the task's own option says; None if nothing.
        attempt: the attempt number.
        settings: of the cluster.
        broker: whose product may have a rule of its own for failures.
    """
    if ack_failure is not None:
        forgets_failures = ack_failure
    elif "ack_failures" in settings.explicit:
        forgets_failures = settings.ack_failures
    else:
        forgets_failures = broker.acknowledges_failures
    return bool(forgets_failures) or 0 < settings.max_attempts <= attempt


class Finisher:
    """Finishes outcomes in three stages, each of which can be tried again without the others.

    Args:
        settings: of the cluster.
        broker: to acknowledge to; None in sync mode.
        hook: what is done with a finished task, signed, that has a hook. The default runs the hook at once.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        broker: Broker | None,
        *,
        hook: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.broker = broker
        self.codec = PackageCodec.of(settings)
        self.store = ResultStore(settings, broker.list_key if broker is not None else None)
        self.chains = Chains(self.store.cache)
        self.iters = Iters(self.store.cache, broker) if broker is not None else None
        self.hook = hook or self.run_hook

    def finish(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Do all three stages at once.

        Returns:
            The signed packages that follow and were not sent, because there is no broker.
        """
        saved = self.save(outcomes)
        if self.broker is not None:
            self.acknowledge(saved)
        self.announce(saved)
        return [package for outcome in outcomes for package in outcome.following] if self.broker is None else []

    def save(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch in the database and the cache.

        Returns:
            The outcomes as they are saved: one that could not be stored is a failure now.

        Raises:
            django.db.DatabaseError: nothing was saved in the database; try again later.
        """
        saved = self.store.save_many(outcomes)
        Schedule.tasks_ended(outcome.id for outcome in saved if self._ends(outcome))
        return saved

    @property
    def has_surplus(self) -> bool:
        """Whether more successes are kept than `save_limit` says, by far: `prune` when there is nothing else to do."""
        return self.store.database.pruner.more

    def prune(self) -> None:
        """Delete a portion of the surplus; an error is logged, and the next batch tries again."""
        self.store.database.prune_more()

    def _ends(self, outcome: Outcome) -> bool:
        """True if the task is not tried again."""
        return self.broker is None or acknowledges(outcome, settings=self.settings, broker=self.broker)

    def acknowledge(self, outcomes: Sequence[Outcome]) -> None:
        """Send what follows, then tell the broker to forget what is done and to offer again what is not.

        Raises:
            BrokerUnavailable: try again later; what was acknowledged is acknowledged twice without harm.
            ResultsUnavailable: the same, of the cache that iters need.
        """
        broker = self.broker
        if broker is None:
            return
        self._follow(outcomes)
        done, again = [], []
        for outcome in outcomes:
            if outcome.ack_id is not None:
                (done if self._ends(outcome) else again).append(outcome.ack_id)
        if done:
            broker.acknowledge_many(done)
        if again:
            broker.release_many(again, delay=self.settings.retry)

    def _follow(self, outcomes: Sequence[Outcome]) -> None:
        """Send the next links of chains and what collates iters: before the broker forgets what they follow from."""
        if links := [outcome for outcome in outcomes if outcome.following]:
            self._send_links(links)
        if self.iters is not None:
            self._send(self.iters.join([outcome for outcome in outcomes if outcome.iter_count and self._ripe(outcome)]))
            self.iters.forget([outcome.gathered for outcome in outcomes if outcome.gathered])

    def _send_links(self, links: Sequence[Outcome]) -> None:
        unsent = self.chains.unsent(links)
        if unsent and self.broker is not None:
            self.broker.enqueue_many([package for outcome in unsent for package in outcome.following])
            self.chains.sent(unsent)

    def _ripe(self, outcome: Outcome) -> bool:
        """Whether an iter need not wait for another attempt at this member; without a limit there is always one."""
        return self._ends(outcome) or self.settings.max_attempts <= 0

    def look_after_iters(self) -> None:
        """Collate the iters of which a member is lost; as long as there are none, it costs a look in a minute.

        Raises:
            BrokerUnavailable: try again later.
            ResultsUnavailable: the same, of the cache.
        """
        if self.iters is not None:
            self._send(self.iters.look())

    def _send(self, packages: Sequence[TaskPackage]) -> None:
        if packages and self.broker is not None:
            self.broker.enqueue_many([self.codec.dumps(package) for package in packages])

    def announce(self, outcomes: Sequence[Outcome]) -> None:
        """Log, signal and hook: nothing of it can change what was saved."""
        for outcome in outcomes:
            _log(outcome)
            if outcome.finished is None:
                continue
            if signals.is_heard(signals.post_execute):
                signals.emit(signals.post_execute, task=self.codec.loads(outcome.finished))
            if outcome.hook is not None:
                self.hook(outcome.finished)

    def run_hook(self, finished: str) -> None:
        """Call the hook of a finished task, signed."""
        package = self.codec.loads(finished)
        with running(package, package.get("attempt_count", 1)):
            run_hook(package["hook"], Task.from_package(package, saved=True), self.settings)


def _log(outcome: Outcome) -> None:
    if outcome.success:
        if logger.isEnabledFor(logging.INFO):
            logger.info("Processed '%s' (%s)", outcome.func, outcome.name)
    else:
        logger.error("Failed '%s' (%s), attempt %d - %s", outcome.func, outcome.name, outcome.attempt, outcome.error)
