"""Every sentence a cluster logs. The logger is `django-q`."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from django_q.context import stamp_records
from django_q.databases.errors import is_unavailable
from django_q.functions import describe
from django_q.log import logger
from django_q.text import error_line, one_line, traceback_of

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


FORMAT = "%(asctime)s [Q] %(levelname)s %(message)s"
TIME_FORMAT = "%H:%M:%S"


def prepare(settings: ClusterSettings) -> None:
    """Configure the log and add the running task to its records, in this process and in those that it forks."""
    configure(settings)
    stamp_records()


def configure(settings: ClusterSettings) -> None:
    """Show the log on the terminal, unless the site has said where it goes."""
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(settings.log_level)
    logger.propagate = False


# the cluster


def starting(cluster: str) -> None:
    """A cluster begins."""
    logger.info("Q Cluster %s starting.", cluster)


def running(cluster: str, queue: str) -> None:
    """All processes are there."""
    logger.info("Q Cluster %s running. [%s]", cluster, queue)


def stopping(cluster: str) -> None:
    """The stop procedure begins."""
    logger.info("Q Cluster %s stopping.", cluster)


def stopped(cluster: str) -> None:
    """Nothing of it is left."""
    logger.info("Q Cluster %s has stopped.", cluster)


def sentinel_died(cluster: str, how: str) -> None:
    """The cluster ended without having been told to."""
    logger.critical("Q Cluster %s has ended: its sentinel %s.", cluster, how)


def sentinel_stalled(cluster: str, reason: str) -> None:
    """The outermost process kills the sentinel, and with it the cluster."""
    logger.critical("Q Cluster %s: its sentinel %s, killed", cluster, reason)


# the sentinel


def guarding(name: str, cluster: str, queue: str) -> None:
    """The sentinel is at its work."""
    logger.info("%s guarding cluster %s [%s]", name, cluster, queue)


def stopping_processes(name: str) -> None:
    """The sentinel ends the others."""
    logger.info("%s stopping cluster processes", name)


def reincarnated(role: str, name: str, how: str) -> None:
    """A process was replaced that should not have ended."""
    logger.error("reincarnated %s %s after %s", role, name, how)


def recycled(name: str) -> None:
    """A worker was replaced because it had done its share."""
    logger.info("recycled worker %s", name)


def timed_out(name: str) -> None:
    """A worker ignored the exception that told it to stop."""
    logger.error("%s did not end its task within its timeout: killed", name)


def out_of_time(name: str) -> None:
    """A worker did not end within the time that a stop allows."""
    logger.warning("%s did not finish within the time of the stop: killed, its task will be offered again", name)


def parent_is_gone(name: str) -> None:
    """The process that started the cluster died."""
    logger.critical("%s: the process that started this cluster is gone", name)


def crashed(name: str, error: BaseException) -> None:
    """A process ends because of an error that nothing handles."""
    logger.critical("%s crashed: %s\n%s", name, error_line(error), traceback_of(error))


def cannot_start(name: str, role: str, error: Exception, seconds: float) -> None:
    """The system refused to start a process."""
    logger.error("%s cannot start a %s (%s), trying again in %.1f seconds", name, role, one_line(error), seconds)


def no_progress(name: str, role: str, seconds: float) -> None:
    """A process has stopped working, and is replaced."""
    logger.error("%s: the %s made no progress for %.0f seconds, killed", name, role, seconds)


def does_not_exit(name: str) -> None:
    """A worker has done its work and does not exit."""
    logger.warning("%s did not exit in time (a task left a thread or process behind), killed", name)


# the pusher


def pushing(name: str) -> None:
    """The pusher is at its work."""
    logger.info("%s pushing tasks at %s", name, os.getpid())


def stopped_pushing(name: str) -> None:
    """The pusher is done."""
    logger.info("%s stopped pushing tasks", name)


def broker_gone(name: str, error: Exception) -> None:
    """The broker's server does not answer."""
    logger.error("%s cannot reach the broker, and keeps trying: %s", name, one_line(error))


def broker_back(name: str) -> None:
    """The broker's server answers again."""
    logger.info("%s reached the broker again", name)


def server_warning(name: str, warning: str) -> None:
    """The configuration of the broker's server endangers packages."""
    logger.warning("%s: %s", name, one_line(warning))


def leases_lost(name: str, count: int) -> None:
    """Waiting tasks belong to somebody else now."""
    logger.warning("%s dropped %d waiting tasks whose leases had ended: the broker offers them again", name, count)


def not_released(name: str, count: int, error: Exception) -> None:
    """Tasks could not be returned to the broker."""
    text = "%s: could not release %d tasks, redelivered after lease expiry: %s"
    logger.warning(text, name, count, one_line(error))


# a worker


def ready(name: str) -> None:
    """A worker waits for tasks."""
    logger.info("%s ready for work at %s", name, os.getpid())


def processing(name: str, package: Any) -> None:
    """A worker begins a task."""
    if not logger.isEnabledFor(logging.INFO):
        return
    group = f" [{one_line(package['group'])}]" if package.get("group") else ""
    logger.info("%s processing %s '%s'%s", name, one_line(package["name"]), one_line(describe(package["func"])), group)


def stopped_working(name: str) -> None:
    """A worker is done."""
    logger.info("%s stopped doing work", name)


def lease_over(name: str) -> None:
    """A task waited here for longer than its lease."""
    logger.warning("%s dropped a task whose lease had ended before it began: the broker offers it again", name)


def connection_cut(name: str, alias: str, seconds: float) -> None:
    """A database has not answered for too long."""
    logger.error("%s: no answer from database '%s' for %.0f seconds, connection closed", name, alias, seconds)


def not_cut(name: str, alias: str, error: Exception) -> None:
    """The connection to a database that does not answer cannot be cut."""
    logger.debug("%s: connection to database '%s' not closed (%s)", name, alias, error_line(error))


# the monitor


def monitoring(name: str) -> None:
    """The monitor is at its work."""
    logger.info("%s monitoring at %s", name, os.getpid())


def stopped_monitoring(name: str) -> None:
    """The monitor is done."""
    logger.info("%s stopped monitoring results", name)


def cannot_save(name: str, error: Exception) -> None:
    """The database or the broker does not answer."""
    logger.error("%s cannot save results, and keeps trying: %s", name, one_line(error))


def saving_again(name: str) -> None:
    """The database or the broker answers again."""
    logger.info("%s saves results again", name)


def not_saved(name: str, count: int) -> None:
    """The cluster stopped while the database or the broker was away."""
    logger.error("%s could not save %d results: their tasks come back when their leases end", name, count)


def unreadable(name: str, reason: str) -> None:
    """A package was moved to the dead letters."""
    logger.error("%s moved a package to the dead letters: %s", name, one_line(reason))


def interrupted(name: str, package: Any) -> None:
    """A running task was ended by the stop."""
    logger.warning("%s gives %s back: the stop of the cluster interrupted it", name, package["name"])


def look_up_hung(name: str, package: Any, reason: str) -> None:
    """The look-up of a task's earlier success did not return."""
    logger.warning("%s releases %s: its earlier success was looked up (%s)", name, package["name"], one_line(reason))


def hook_died(name: str, reason: str) -> None:
    """A hook took its worker with it."""
    logger.error("%s: a hook did not return: %s", name, one_line(reason))


def not_followed_up(name: str, count: int) -> None:
    """Hooks found no worker before the stop."""
    logger.warning("%s: %d hooks did not run before the shutdown, their packages will be redelivered", name, count)


def leases_not_renewed(name: str, error: BaseException) -> None:
    """A broker is unavailable while results wait to be saved."""
    logger.warning("%s: leases of unsaved results could not be renewed, retrying: %s", name, one_line(error))


def leases_renewed_again(name: str) -> None:
    """The broker is available again."""
    logger.info("%s: leases of unsaved results are renewed again", name)


def cannot_look_up(name: str, error: BaseException) -> None:
    """The database or the cache does not say whether a redelivered task has succeeded."""
    logger.error("%s: cannot look up whether a redelivered task has succeeded, retrying: %s", name, one_line(error))


def leaked_files(name: str) -> None:
    """Tasks have left many files open."""
    logger.warning("%s: tasks left too many files open, the worker is replaced", name)


# the scheduler


def scheduling(name: str) -> None:
    """The scheduler is at its work."""
    logger.info("%s scheduling at %s", name, os.getpid())


def stopped_scheduling(name: str) -> None:
    """The scheduler is done."""
    logger.info("%s stopped scheduling", name)


def no_statistics(name: str, error: Exception) -> None:
    """The statistics could not be published."""
    logger.warning("%s could not publish the statistics of the cluster: %s", name, one_line(error))


def label_of(schedule: Any) -> str:
    """Return the name of a schedule, or its id."""
    return one_line(schedule.name or schedule.pk)


def sent_from_schedule(name: str, schedule: Any, package: Any) -> None:
    """A slot of a schedule was due."""
    logger.info("%s created task %s from schedule [%s]", name, one_line(package["name"]), label_of(schedule))


def skipped_slot(name: str, schedule: Any) -> None:
    """A slot of a schedule was due while its previous task had not ended."""
    logger.info(
        "%s skipped a slot of schedule [%s]: its task %s still waits or runs",
        name, label_of(schedule), schedule.waiting_for,
    )  # fmt: skip


def moments_restored(name: str, count: int) -> None:
    """The site has changed its `USE_TZ` or `TIME_ZONE`."""
    logger.info("%s: %d schedules keep their moments in the new time zone of the database (USE_TZ)", name, count)


def broken_schedule(name: str, schedule: Any, reason: str) -> None:
    """A schedule could not be sent; it is tried again."""
    logger.error("%s cannot send schedule [%s] (%s), it is tried again", name, label_of(schedule), reason)


def cannot_schedule(name: str, error: Exception) -> None:
    """The database or the broker does not answer."""
    logger.error("%s cannot send what is due (%s), it keeps trying", name, error_line(error))


def scheduling_failed(name: str, error: Exception) -> None:
    """Looking for due schedules failed, not because the database or the broker is unavailable."""
    logger.error("%s cannot send what is due (%s), it keeps trying\n%s", name, error_line(error), traceback_of(error))


def scheduling_again(name: str) -> None:
    """The database and the broker answer again."""
    logger.info("%s sends what is due again", name)


def cannot_maintain(name: str, error: Exception) -> None:
    """Maintenance failed; it is tried again."""
    # The traceback as text: one with lone surrogates could not be written by every handler.
    trace = "" if is_unavailable(error) else f"\n{traceback_of(error)}"
    logger.error("%s: maintenance failed (%s), it is tried again%s", name, error_line(error), trace)


def maintaining_again(name: str) -> None:
    """Maintenance succeeded after it had failed."""
    logger.info("%s: maintenance succeeded again", name)


def schedules_in_code(name: str, done: str, names: list[str]) -> None:
    """Schedules were put right at the start, as the code says."""
    logger.info("%s %s the schedules of the code: %s", name, done, ", ".join(map(one_line, names)))


def not_synchronised(name: str, error: Exception) -> None:
    """The declared schedules could not be compared with the database."""
    logger.error(
        "%s cannot synchronise the schedules of the code (%s), they stay as they are\n%s",
        name, error_line(error), traceback_of(error),
    )  # fmt: skip


def broken_declaration(name: str, schedule: str, reason: str) -> None:
    """The code declares a schedule that cannot be."""
    logger.error("%s: the schedule [%s] that the code declares is invalid (%s)", name, one_line(schedule), reason)


def fatal_module(name: str, module: str) -> None:
    """A module that may declare schedules ended the previous scheduler process."""
    logger.error("%s does not import %s (the previous scheduler ended or hung while importing it)", name, module)


def broken_module(name: str, module: str, error: BaseException) -> None:
    """A module that may declare schedules cannot be imported."""
    logger.error(
        "%s cannot import %s (%s), the schedules that it declares stay as they are\n%s",
        name, module, error_line(error), traceback_of(error),
    )  # fmt: skip
