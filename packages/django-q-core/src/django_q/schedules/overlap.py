"""Claims slots of schedules without overlap before their tasks are sent, so that a task can end at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db import DatabaseError, InterfaceError, router

from django_q.brokers import Broker, broker_of
from django_q.models import Schedule, Task
from django_q.schedules.packing import may_overlap, pack, task_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django_q.recurrence import Slot
    from django_q.settings import ClusterSettings


class Claim(NamedTuple):
    """Claim of a slot whose task will be sent."""

    pk: int
    """Primary key of the schedule."""
    runs: int
    """Its `runs` when the slot was claimed."""
    task_id: str
    """Id of the task of the slot, which is the `waiting_for` of the schedule."""


class Overlap:
    """Claims slots: `waiting_for` is the id of the slot's task, and is committed before that task is sent.

    The final outcome of the task clears it, even if it is earlier than the scheduler's commit. If the scheduler dies in
    between, the slot stays due, with the id of its task in `waiting_for`. Any scheduler then sends it.

    Args:
        settings: of the cluster.
        broker: of the cluster.
        db: alias of the database of the schedules.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker, db: str) -> None:
        self.settings, self.broker, self.db = settings, broker, db

    def claim(self, schedules: Iterable[Schedule]) -> list[Claim]:
        """Claim the due slots of schedules whose previous task has ended.

        Args:
            schedules: due schedules without overlap.

        Returns:
            The claims, including those of another scheduler.
        """
        claims = [self._claim(schedule) for schedule in schedules]
        return [claim for claim in claims if claim is not None]

    def _claim(self, schedule: Schedule) -> Claim | None:
        slot = schedule.slot()
        if slot is None:
            return None
        claim = Claim(schedule.pk, schedule.runs, self.id_of(schedule, slot))
        if schedule.waiting_for == claim.task_id:
            return claim
        try:
            if self.is_waiting(schedule):
                return None
        except (DatabaseError, InterfaceError):
            raise
        except Exception:  # noqa: BLE001 - `_process` marks the schedule with the error
            return None
        row = Schedule.objects.using(self.db).filter(pk=schedule.pk, runs=schedule.runs, next_run=schedule.next_run)
        claimed = row.filter(waiting_for=schedule.waiting_for).update(waiting_for=claim.task_id)
        return claim if claimed else None

    def release(self, claims: Iterable[Claim], sent: Collection[str]) -> None:
        """Release the claims of slots that are still due.

        Args:
            claims: as `claim` returned them.
            sent: ids of the tasks that were sent.
        """
        for pk, runs, claimed in claims:
            if claimed not in sent:
                row = Schedule.objects.using(self.db).filter(pk=pk, runs=runs, waiting_for=claimed)
                row.update(waiting_for=None)

    def id_of(self, schedule: Schedule, slot: Slot) -> str:
        """Return the id of the task of a slot."""
        return task_id(schedule, slot.moment, self.settings.salt)

    def is_claimed(self, schedule: Schedule, slot: Slot) -> bool:
        """Return True if a slot may be sent."""
        return may_overlap(schedule) or schedule.waiting_for == self.id_of(schedule, slot)

    def is_waiting(self, schedule: Schedule) -> bool:
        """Return True if the previous task has not ended. This checks the database and the broker, too."""
        if may_overlap(schedule) or not schedule.waiting_for:
            return False
        tasks = Task._base_manager.using(router.db_for_write(Task))
        if tasks.filter(pk=schedule.waiting_for, success=True).exists():
            return False
        queue = pack(schedule, None, self.settings).queue
        return not is_empty(self.broker if queue is None else broker_of(queue))


def is_empty(broker: Broker) -> bool:
    """Return True if the broker can tell that no task waits or runs."""
    return bool(broker.supports_lock_size) and not broker.queue_size() and not broker.lock_size()
