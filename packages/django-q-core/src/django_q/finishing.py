"""Finishes outcomes: saves them, sends what follows, runs hooks and acknowledges."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from django_q import signals
from django_q.context import running
from django_q.databases.errors import is_unavailable
from django_q.exceptions import ResultsUnavailable, UnreadablePackage, sent_before
from django_q.hooks import run_hook
from django_q.log import logger
from django_q.models import Schedule, Task
from django_q.outcome_builder import OutcomeBuilder
from django_q.results.cache import queue_key
from django_q.results.limits import LENGTHS, in_ascii
from django_q.results.store import ResultStore
from django_q.text import ascii_only, error_line, one_line
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek
from django_q.wire.package import is_member
from django_q.workflows.batch_delivery import BatchDelivery
from django_q.workflows.batches import BatchResults
from django_q.workflows.sent_links import SentLinks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from django_q.brokers import AckId, Broker, Delivery
    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome


def acknowledges(outcome: Outcome, *, settings: ClusterSettings, broker: Broker) -> bool:
    """Decide whether the broker may forget a task. This is the only place where it is decided.

    Args:
        outcome: of an attempt.
        settings: of the cluster.
        broker: whose product may have a rule of its own for failures.

    Returns:
        True for a success, for a failure that must not be tried again, and when `max_attempts` are used up.
    """
    if outcome.success or outcome.final:
        return True
    return is_last(outcome.ack_failure, outcome.attempt, settings=settings, broker=broker)


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
    """Finishes outcomes in stages, each of which can be repeated without the others.

    A stage that fails for a batch is repeated for each of its outcomes, so that one outcome cannot harm the others.
    Only an unavailable server (`is_unavailable`) is left to the caller, who tries again later.

    Args:
        settings: of the cluster.
        broker: to acknowledge to; None in sync mode.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker | None) -> None:
        self.settings = settings
        self.broker = broker
        self.codec = PackageCodec.of(settings)
        list_key = queue_key(settings) if broker is None else broker.list_key
        self.batches = BatchResults(settings, list_key)
        self.store = ResultStore(settings, list_key, self.batches)
        self.sent_links = SentLinks(self.store.cache)
        self.delivery = BatchDelivery(settings, broker) if broker is not None else None
        self.builder = OutcomeBuilder(settings)

    def finish(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Do all stages at once, with hooks and receivers in this process.

        Returns:
            The signed packages that follow and were not sent, because there is no broker.
        """
        saved = self.save(outcomes)
        self.follow(saved)
        for outcome in saved:
            self.announce(outcome)
            if outcome.follow_up and outcome.finished is not None:
                self.run_follow_up(outcome.finished)
        self.acknowledge(saved)
        return [package for outcome in saved for package in outcome.following] if self.broker is None else []

    # saving

    def save(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch in the database and the cache.

        Returns:
            The outcomes as they are saved: one that could not be stored is a final failure now.

        Raises:
            django.db.Error: `is_unavailable`: try again later; saving an outcome twice changes nothing.
            ResultsUnavailable: as above, of the cache.
        """
        new = [outcome for outcome in outcomes if not outcome.repeated]
        try:
            saved = self.store.save_many(new, self._is_final)
        except Exception as error:
            if is_unavailable(error):
                raise
            saved = [self._save_alone(outcome) for outcome in new]
        self._deliver_batches()
        if self.broker is None:  # no cluster's maintenance does it
            self.store.database.prune_after(saved)
        saved += [outcome for outcome in outcomes if outcome.repeated]
        waited_for = [outcome for outcome in saved if outcome.schedule is not None and self._ends(outcome)]
        self._each(self._end_waiting, waited_for)
        return saved

    def _save_alone(self, outcome: Outcome) -> Outcome:
        """Save one outcome; if it cannot be stored, a failure in its place that says so."""
        try:
            return self.store.save_many([outcome], self._is_final)[0]
        except Exception as error:
            if is_unavailable(error):
                raise
            logger.exception("Outcome of %s cannot be saved", outcome.id)
            instead = self._refused(outcome, error)
        try:
            return self.store.save_many([instead])[0]
        except Exception as error:
            if is_unavailable(error):
                raise
            # There is nothing in it that could be at fault, so it is the store that does not work.
            sentence = f"Not even the failure of {outcome.id} can be saved: {error_line(error)}"
            raise ResultsUnavailable(sentence) from error

    def _refused(self, outcome: Outcome, error: Exception) -> Outcome:
        """Make the final failure that is saved in place of an outcome that cannot be: without anything of its value."""
        reason = f"The task {'returned' if outcome.success else 'failed'}, but could not be saved: {error_line(error)}."
        names = ("id", "started", "cached", "iter_count", "iter_cached", "iter_options")
        kept = {name: getattr(outcome, name) for name in names}
        labels = {name: label for name in LENGTHS if (label := getattr(in_ascii(outcome), name)) is not None}
        failure = self.builder.failed(
            kept | labels, ascii_only(reason), ack_id=outcome.ack_id, attempt=outcome.attempt, final=True
        )
        return failure._replace(args=None, kwargs=None, schedule=outcome.schedule)

    def _end_waiting(self, outcomes: Sequence[Outcome]) -> None:
        """Let schedules without overlap continue whose tasks have ended."""
        for outcome in outcomes:
            if outcome.schedule is not None:
                Schedule.task_ended(outcome.schedule, outcome.id)

    # batches

    def _is_final(self, member: Outcome) -> bool:
        """Return whether a member is not tried again; without a limit of attempts its first failure counts."""
        return self.settings.max_attempts <= 0 or self._ends(member)

    def _deliver_batches(self) -> None:
        """Take the results of batches that are complete now to the cache, and to their callbacks."""
        completed = self.batches.take_completed()
        if self.delivery is not None:
            self.delivery.deliver(completed)
        for outcome in completed:
            self.announce(outcome)

    def fail_member(self, package: Mapping[str, Any], reason: str) -> None:
        """Count a task that will not be executed as a failed member of its iter: it is dead-lettered or cancelled.

        Args:
            package: metadata, as `peek` returns them; nothing happens if the task is not a member.
            reason: takes the place of its result.

        Raises:
            django.db.Error: `is_unavailable`: try again later; a member counts once.
        """
        if is_member(package.get("iter_count"), package.get("group")):
            failure = self.builder.failed(package, reason, final=True)
            self.save([failure._replace(kwargs=None)])  # which cannot be read either, unlike those of other members

    # following

    def follow(self, outcomes: Sequence[Outcome]) -> None:
        """Send the next links of chains, before the broker forgets what they follow from.

        Raises:
            BrokerUnavailable: try again later; a link that is sent twice is still one task.
            ResultsUnavailable: as above, of the cache that chains need.
        """
        if self.broker is None:
            return
        self._each(self._send_links, [outcome for outcome in outcomes if outcome.following], self._link_failed)

    def _send_links(self, links: Sequence[Outcome]) -> None:
        unsent = self.sent_links.unsent(links)
        if unsent and self.broker is not None:
            packages = [(outcome, package) for outcome in unsent for package in outcome.following]
            try:
                self.broker.enqueue_links([package for _, package in packages])
            except Exception as error:
                sent = sent_before(error)
                missing = {outcome.id for n, (outcome, _) in enumerate(packages) if n not in sent}
                self.sent_links.sent_partly([outcome for outcome in unsent if outcome.id not in missing])
                raise
            self.sent_links.sent(unsent)
        self.sent_links.followed(links)

    def _link_failed(self, outcome: Outcome, error: Exception) -> None:
        """Record a link that the broker rejects, such as one that is too large, as a failure of the chain."""
        for package in outcome.following:
            reason = f"The link could not be sent: {error_line(error)}"
            self.save([self.builder.failed(peek(self.codec, package), reason, final=True)])

    # telling

    def announce(self, outcome: Outcome) -> None:
        """Log an outcome."""
        if outcome.success:
            if logger.isEnabledFor(logging.INFO):
                logger.info("Processed '%s' (%s)", one_line(outcome.func), one_line(outcome.name))
        else:
            func, name, error = one_line(outcome.func), one_line(outcome.name), one_line(outcome.error)
            logger.error("Failed '%s' (%s), attempt %d - %s", func, name, outcome.attempt, error)

    def run_follow_up(self, finished: str) -> None:
        """Run the receivers of `post_execute` and the hook of a finished task; whatever they do, its outcome stands.

        Args:
            finished: the finished package, signed.
        """
        try:
            package = self.codec.loads(finished)
        except BaseException:  # noqa: BLE001 - unpickling runs the code of whatever is inside
            logger.exception("A finished task cannot be read, so its hook does not run")
            return
        with running(package, package.get("attempt_count", 1)):
            signals.emit(signals.post_execute, task=package)
            if package.get("hook") is not None:
                run_hook(package["hook"], Task.from_package(package, saved=True), self.settings)

    # acknowledging

    def acknowledge(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the broker to forget what is done, and to redeliver what is to be tried again.

        Raises:
            BrokerUnavailable: try again later; acknowledging twice does no harm.
        """
        if self.broker is None:
            return
        done: list[AckId] = []
        again: list[AckId] = []
        for outcome in outcomes:
            if outcome.ack_id is not None:
                (done if self._ends(outcome) else again).append(outcome.ack_id)
        if done:
            self.broker.acknowledge_many(done)
        if again:
            self.broker.release_many(again, delay=self.settings.retry)

    def move_to_dead_letters(self, delivery: Delivery, reason: str) -> None:
        """Move an unreadable package to the dead-letter queue: its task has failed for good.

        Nothing happens if the lease was lost: another cluster has the package, and may be able to read it.

        Args:
            delivery: of the package.
            reason: why no worker can read it.

        Raises:
            BrokerUnavailable: try again later.
        """
        if self.broker is None or self.broker.is_lost(delivery):
            return
        with suppress(UnreadablePackage):
            self.fail_member(peek(self.codec, delivery.package), f"Dead-lettered: {reason}")
        self.broker.move_to_dead_letters(delivery)
        with suppress(UnreadablePackage):  # a foreign signature: nothing in it can be trusted
            package = peek(self.codec, delivery.package)
            self._each(self._end_waiting, [self.builder.failed(package, reason, final=True)])

    def _ends(self, outcome: Outcome) -> bool:
        """Return whether the task is not tried again."""
        return self.broker is None or acknowledges(outcome, settings=self.settings, broker=self.broker)

    def _each(
        self,
        work: Callable[[Sequence[Outcome]], None],
        outcomes: Sequence[Outcome],
        rescue: Callable[[Outcome, Exception], None] | None = None,
    ) -> None:
        """Do a stage for a batch; if it fails, for each outcome alone.

        Args:
            work: the stage.
            outcomes: of the batch.
            rescue: called with an outcome for which the stage fails alone, once that is logged.
        """
        if not outcomes:
            return
        try:
            work(outcomes)
        except Exception as error:
            if is_unavailable(error):
                raise
            if len(outcomes) > 1:
                for outcome in outcomes:
                    self._each(work, [outcome], rescue)
                return
            logger.exception("Follow-up of %s failed", outcomes[0].id)
            if rescue is not None:
                rescue(outcomes[0], error)
