"""Finishes outcomes: saves them, sends links of chains, runs hooks, and acknowledges packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from django_q import reporters, signals, tracing
from django_q.context import running
from django_q.databases.errors import is_unavailable
from django_q.dispatch import send_links
from django_q.exceptions import (
    FollowUpFailed,
    ResultNotSaved,
    ResultsUnavailable,
    TaskError,
    UnreadablePackage,
    mark_sent,
    sent_before,
)
from django_q.execution.hooks import run_hook
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.log import messages as log
from django_q.models import Schedule, Task
from django_q.records.creating import create
from django_q.records.writing import RecordWriter
from django_q.results.cache import queue_key
from django_q.results.limits import LENGTHS, in_ascii
from django_q.results.store import ResultStore
from django_q.text import ascii_only, error_line
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek
from django_q.wire.outcome import decode
from django_q.wire.package import is_member
from django_q.workflows.batch_delivery import BatchDelivery
from django_q.workflows.batches import BatchResults
from django_q.workflows.sent_links import SentLinks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import AckId, Broker, Delivery
    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome
    from django_q.wire.tracking import Started


Report: TypeAlias = Callable[[TaskError, Mapping[str, Any], int], None]
"""Function that reports an error: called with it, with metadata of its task, and with the attempt number."""


def acknowledges(outcome: Outcome, *, settings: ClusterSettings, broker: Broker) -> bool:
    """Decide if a package is acknowledged after an attempt. No other code decides this.

    Args:
        outcome: of the attempt.
        settings: of the cluster.
        broker: of the queue; its default for failures may depend on the product.

    Returns:
        True for a success, for a final failure, and for a failure when `max_attempts` is reached.
    """
    if outcome.success or outcome.final:
        return True
    return is_last(outcome.ack_failure, outcome.attempt, settings=settings, broker=broker)


def is_last(ack_failure: bool | None, attempt: int, *, settings: ClusterSettings, broker: Broker) -> bool:
    """Decide if a failed attempt is the last one.

    The option of the task takes precedence over the setting `ack_failures`, and that over the default of the broker.

    Args:
        ack_failure: the option of the task; None if it is not set.
        attempt: the attempt number.
        settings: of the cluster.
        broker: of the queue; its default for failures may depend on the product.

    Returns:
        True if the package is acknowledged and not redelivered.
    """
    if ack_failure is not None:
        acknowledges_failures = ack_failure
    elif "ack_failures" in settings.explicit:
        acknowledges_failures = settings.ack_failures
    else:
        acknowledges_failures = broker.acknowledges_failures
    return bool(acknowledges_failures) or 0 < settings.max_attempts <= attempt


def traceback_in(outcome: Outcome) -> str | None:
    """Return the text of a failure with its traceback; None if it has none."""
    text = decode(outcome.result)
    return text if isinstance(text, str) and "\n" in text else None


class Finisher:
    """Finishes outcomes in stages, each of which can be repeated without the others.

    If a stage fails for a batch, it is repeated for each outcome alone, so that one outcome cannot affect the others.
    Only errors of an unavailable server (`is_unavailable`) are raised; the caller tries again later.

    Args:
        settings: of the cluster.
        broker: of the queue; None in sync mode.
        report: called with errors for the error reporters; None calls them in this process.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker | None, report: Report | None = None) -> None:
        self.settings = settings
        self.broker = broker
        self.report = report or partial(reporters.report_about, settings)
        self.codec = PackageCodec.of(settings)
        list_key = queue_key(settings) if broker is None else broker.list_key
        self.batches = BatchResults(settings, list_key)
        self.store = ResultStore(settings, list_key, self.batches)
        self.sent_links = SentLinks(self.store.cache)
        self.delivery = BatchDelivery(settings, broker) if broker is not None else None
        self.builder = OutcomeBuilder(settings)
        self.records = RecordWriter(settings)

    def finish(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Run all stages, with hooks and receivers in this process.

        Returns:
            In sync mode, the signed next links of chains, which were not sent. Otherwise an empty list.
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
            The outcomes as they are saved. One that cannot be stored is replaced by a final failure.

        Raises:
            django.db.Error: `is_unavailable`: try again later. Saving is idempotent.
            ResultsUnavailable: as above, for the cache.
        """
        new = [outcome for outcome in outcomes if not outcome.repeated]
        try:
            saved = self.store.save_many(new, self._is_final)
        except Exception as error:
            if is_unavailable(error):
                raise
            saved = [self._save_alone(outcome) for outcome in new]
        self._deliver_batches()
        if self.broker is None:  # without a cluster there is no maintenance
            self.store.database.prune_after(saved)
        saved += [outcome for outcome in outcomes if outcome.repeated]
        self.track(saved)
        awaited = [outcome for outcome in saved if outcome.schedule is not None and self._ends(outcome)]
        self._each(self._end_waiting, awaited)
        for outcome, stored in zip(new, saved, strict=False):  # the repeated ones follow
            if outcome.success and not stored.success:
                self.report(ResultNotSaved(stored.error), stored._asdict(), stored.attempt)
        return saved

    def track(self, outcomes: Sequence[Outcome], starts: Sequence[Started] = ()) -> None:
        """Update the records of tracked tasks. One that cannot be updated does not affect the others.

        Args:
            outcomes: of attempts, those of tasks that are not tracked included.
            starts: starts of attempts without an outcome.

        Raises:
            django.db.Error: `is_unavailable`: try again later. Updating is idempotent.
        """
        self.records.write(starts, outcomes, self._ends)

    def _save_alone(self, outcome: Outcome) -> Outcome:
        """Save one outcome; if it cannot be stored, save a failure with the reason in its place."""
        try:
            return self.store.save_many([outcome], self._is_final)[0]
        except Exception as error:
            if is_unavailable(error):
                raise
            log.result.not_saved(outcome, error)
            instead = self._refused(outcome, error)
        try:
            return self.store.save_many([instead])[0]
        except Exception as error:
            if is_unavailable(error):
                raise
            # This failure contains no value of the task, so the store itself does not work.
            sentence = f"The failure of {outcome.id} cannot be saved: {error_line(error)}"
            raise ResultsUnavailable(sentence) from error

    def _refused(self, outcome: Outcome, error: Exception) -> Outcome:
        """Build the final failure that replaces an outcome which cannot be saved. It has no value of the task."""
        reason = f"The task {'returned' if outcome.success else 'failed'}, but could not be saved: {error_line(error)}."
        names = ("id", "started", "cached", "iter_count", "iter_cached", "iter_options")
        kept = {name: getattr(outcome, name) for name in names}
        labels = {name: label for name in LENGTHS if (label := getattr(in_ascii(outcome), name)) is not None}
        failure = self.builder.failed(
            kept | labels, ascii_only(reason), ack_id=outcome.ack_id, attempt=outcome.attempt, final=True
        )
        attempted = outcome.attempted and outcome.attempted._replace(exception_class=None, traceback=None)
        return failure._replace(args=None, kwargs=None, schedule=outcome.schedule, attempted=attempted)

    def _end_waiting(self, outcomes: Sequence[Outcome]) -> None:
        """Record the end of tasks for which schedules without overlap wait."""
        for outcome in outcomes:
            if outcome.schedule is not None:
                Schedule.task_ended(outcome.schedule, outcome.id)

    # batches

    def _is_final(self, member: Outcome) -> bool:
        """Return True if no attempt of a member follows. Without a limit of attempts, its first failure counts."""
        return self.settings.max_attempts <= 0 or self._ends(member)

    def _deliver_batches(self) -> None:
        """Deliver the results of completed batches to the cache and to their callbacks."""
        completed = self.batches.take_completed()
        if self.delivery is not None:
            self.delivery.deliver(completed)
        for outcome in completed:
            self.announce(outcome)

    def fail_member(self, package: Mapping[str, Any], reason: str) -> None:
        """Count a task that will not be executed, a dead letter or a cancelled one, as a failed member of its iter.

        Args:
            package: metadata, as `peek` returns them. A task that is not a member is ignored.
            reason: text that replaces its result.

        Raises:
            django.db.Error: `is_unavailable`: try again later. Each member counts once.
        """
        if is_member(package.get("iter_count"), package.get("group")):
            failure = self.builder.failed(package, reason, final=True)
            self.save([failure._replace(kwargs=None)])  # they are unknown, unlike those of other members
        elif package.get("track"):
            self.track([self.builder.failed(package, reason, final=True)])

    # following

    def follow(self, outcomes: Sequence[Outcome]) -> None:
        """Send the next links of chains, before the packages of their predecessors are acknowledged.

        Raises:
            BrokerUnavailable: try again later. A link that is sent twice has the same id.
            ResultsUnavailable: as above, for the cache.
        """
        if self.broker is None:
            return
        self._each(self._send_links, [outcome for outcome in outcomes if outcome.following], self._link_failed)

    def _send_links(self, links: Sequence[Outcome]) -> None:
        unsent = self.sent_links.unsent(links)
        if unsent and self.broker is not None:
            packages = [(outcome, package) for outcome in unsent for package in outcome.following]
            if records := [outcome.following_record for outcome in unsent if outcome.following_record]:
                create(records)
            try:
                self._enqueue_links(packages)
            except Exception as error:
                sent = sent_before(error)
                missing = {outcome.id for n, (outcome, _) in enumerate(packages) if n not in sent}
                self.sent_links.sent_partly([outcome for outcome in unsent if outcome.id not in missing])
                raise
            self.sent_links.sent(unsent)
        self.sent_links.followed(links)

    def _enqueue_links(self, packages: Sequence[tuple[Outcome, str]]) -> None:
        """Enqueue signed links, each in the queue of its predecessor.

        Raises:
            BrokerError: some may be queued; `sent` contains their indexes.
        """
        assert self.broker is not None
        brokers = [self.broker.broker_of_delivery(outcome.ack_id) for outcome, _ in packages]
        sent: list[int] = []
        for broker in dict.fromkeys(brokers):
            indexes = [index for index, each in enumerate(brokers) if each is broker]
            links = [packages[index][1] for index in indexes]
            priorities = [packages[index][0].following_priority for index in indexes]
            try:
                send_links(links, broker=broker, priorities=priorities)
            except Exception as error:
                mark_sent(error, [*sent, *(indexes[index] for index in sent_before(error))])
                raise
            sent += indexes

    def _link_failed(self, outcome: Outcome, error: Exception) -> None:
        """Save a failure for a link that the broker rejects, for example because it is too large."""
        for package in outcome.following:
            reason = f"The link could not be sent: {error_line(error)}"
            self.save([self.builder.failed(peek(self.codec, package), reason, final=True)])

    # log, hooks and receivers

    def announce(self, outcome: Outcome) -> None:
        """Log an outcome."""
        if outcome.success:
            log.task.processed(outcome)
        elif outcome.cancelled:
            log.task.cancelled(outcome)
        else:
            log.task.failed(outcome, traceback_in(outcome))

    def run_follow_up(self, finished: str) -> None:
        """Call the receivers of `post_execute` and the hook of a finished task. Their errors do not change its outcome.

        Args:
            finished: the finished task, signed as a result.
        """
        try:
            package = self.builder.result_codec.loads(finished)
        except BaseException as error:  # noqa: BLE001 - unpickling runs code of the project
            log.hook.unreadable(error)
            return
        hook = package.get("hook")
        with running(package, package.get("attempt_count", 1)), tracing.following(package, hook, self.settings):
            signals.emit(signals.post_execute, task=package)
            if hook is not None:
                run_hook(hook, Task.from_package(package, saved=True), self.settings)

    # acknowledging

    def acknowledge(self, outcomes: Sequence[Outcome]) -> None:
        """Acknowledge the packages of final outcomes, and release the others for their next attempt after `retry`.

        Raises:
            BrokerUnavailable: try again later. Acknowledging is idempotent.
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
        """Move an unreadable package to the dead-letter queue.

        If the lease was lost, this does nothing: another cluster has the package, and may be able to read it.

        Args:
            delivery: of the package.
            reason: error that occurred when it was read.

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
        """Return True if no attempt of the task follows."""
        return self.broker is None or acknowledges(outcome, settings=self.settings, broker=self.broker)

    def _each(
        self,
        work: Callable[[Sequence[Outcome]], None],
        outcomes: Sequence[Outcome],
        rescue: Callable[[Outcome, Exception], None] | None = None,
    ) -> None:
        """Run a stage for a batch. If it fails, run it for each outcome alone.

        Args:
            work: the stage.
            outcomes: of the batch.
            rescue: called with each outcome for which the stage fails alone, after that is logged.
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
            outcome = outcomes[0]
            log.result.follow_up_failed(outcome, error)
            self.report(FollowUpFailed(error_line(error)), outcome._asdict(), outcome.attempt)
            if rescue is not None:
                rescue(outcome, error)
