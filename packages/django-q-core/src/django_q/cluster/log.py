"""Log messages of a cluster. The logger is `django-q`."""

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
    """Show the log on the terminal by default, and add the running task to its records; forks inherit both."""
    if not logger.hasHandlers():  # the site has not configured where the log goes
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
        logger.addHandler(handler)
        logger.setLevel(settings.log_level)
        logger.propagate = False
    stamp_records()


# the cluster


def starting(cluster: str) -> None:
    """Log the start of a cluster."""
    logger.info("Q Cluster %s starting.", cluster)


def running(cluster: str, queue: str) -> None:
    """Log that all processes of a cluster have started."""
    logger.info("Q Cluster %s running. [%s]", cluster, queue)


def stopping(cluster: str) -> None:
    """Log the start of the stop procedure."""
    logger.info("Q Cluster %s stopping.", cluster)


def stopped(cluster: str) -> None:
    """Log that all processes of a cluster have ended."""
    logger.info("Q Cluster %s has stopped.", cluster)


def sentinel_died(cluster: str, how: str) -> None:
    """Log that a cluster ended without a request to stop."""
    logger.critical("Q Cluster %s has ended: its sentinel %s.", cluster, how)


def sentinel_stalled(cluster: str, reason: str) -> None:
    """Log that the outermost process kills the sentinel, and with it the cluster."""
    logger.critical("Q Cluster %s: its sentinel %s, killed", cluster, reason)


# the sentinel


def guarding(name: str, cluster: str, queue: str) -> None:
    """Log that the sentinel is ready."""
    logger.info("%s guarding cluster %s [%s]", name, cluster, queue)


def stopping_processes(name: str) -> None:
    """Log that the sentinel stops the other processes."""
    logger.info("%s stopping cluster processes", name)


def reincarnated(role: str, name: str, how: str) -> None:
    """Log that a process has ended unexpectedly and was replaced."""
    logger.error("reincarnated %s %s after %s", role, name, how)


def recycled(name: str) -> None:
    """Log that a worker was recycled."""
    logger.info("recycled worker %s", name)


def timed_out(name: str) -> None:
    """Log the kill of a worker whose task ignored the exception of its timeout."""
    logger.error("%s: task exceeded its timeout, worker killed", name)


def out_of_time(name: str) -> None:
    """Log the kill of a worker whose task did not end within `stop_timeout`."""
    logger.warning("%s: task did not end within stop_timeout, worker killed, task will be redelivered", name)


def parent_is_gone(name: str) -> None:
    """Log the death of the process that has started the cluster."""
    logger.critical("%s: the process that started this cluster has died, stopping", name)


def crashed(name: str, error: BaseException) -> None:
    """Log the end of a process by an unhandled error."""
    logger.critical("%s crashed: %s\n%s", name, error_line(error), traceback_of(error))


def cannot_start(name: str, role: str, error: Exception, seconds: float) -> None:
    """Log that the system refused to start a process."""
    logger.error("%s: cannot start a %s (%s), retrying in %.1f seconds", name, role, one_line(error), seconds)


def no_progress(name: str, role: str, seconds: float) -> None:
    """Log the kill of a process without progress."""
    logger.error("%s: the %s made no progress for %.0f seconds, killed", name, role, seconds)


def does_not_exit(name: str) -> None:
    """Log the kill of a worker that has ended its work and does not exit."""
    logger.warning("%s: did not exit in time (a task left a thread or process behind), killed", name)


# the pusher


def pushing(name: str) -> None:
    """Log that the pusher is ready."""
    logger.info("%s pushing tasks at %s", name, os.getpid())


def stopped_pushing(name: str) -> None:
    """Log the end of the pusher."""
    logger.info("%s stopped pushing tasks", name)


def broker_gone(name: str, error: Exception) -> None:
    """Log the start of an outage of the broker."""
    logger.error("%s: broker unavailable, retrying: %s", name, one_line(error))


def broker_back(name: str) -> None:
    """Log the end of an outage of the broker."""
    logger.info("%s: broker available again", name)


def server_warning(name: str, warning: str) -> None:
    """Log a risk for packages in the configuration of the broker's server."""
    logger.warning("%s: %s", name, one_line(warning))


def leases_lost(name: str, count: int) -> None:
    """Log that the leases of waiting tasks were lost."""
    logger.warning("%s: %d leases expired, tasks will be redelivered", name, count)


def not_released(name: str, count: int, error: Exception) -> None:
    """Log that tasks could not be released."""
    text = "%s: could not release %d tasks, redelivered after lease expiry: %s"
    logger.warning(text, name, count, one_line(error))


# a worker


def ready(name: str) -> None:
    """Log that a worker is ready."""
    logger.info("%s ready for work at %s", name, os.getpid())


def processing(name: str, package: Any) -> None:
    """Log the start of a task."""
    if not logger.isEnabledFor(logging.INFO):
        return
    group = f" [{one_line(package['group'])}]" if package.get("group") else ""
    logger.info("%s processing %s '%s'%s", name, one_line(package["name"]), one_line(describe(package["func"])), group)


def stopped_working(name: str) -> None:
    """Log the end of a worker."""
    logger.info("%s stopped doing work", name)


def lease_over(name: str) -> None:
    """Log that the lease of a task may have expired before the task began."""
    logger.warning("%s: lease of a task expired before its start, task will be redelivered", name)


def connection_cut(name: str, alias: str, seconds: float) -> None:
    """Log that a connection was closed because the database did not answer."""
    logger.error("%s: no answer from database '%s' for %.0f seconds, connection closed", name, alias, seconds)


def not_cut(name: str, alias: str, error: Exception) -> None:
    """Log that the connection to a database without answer could not be closed."""
    logger.debug("%s: connection to database '%s' not closed (%s)", name, alias, error_line(error))


# the monitor


def monitoring(name: str) -> None:
    """Log that the monitor is ready."""
    logger.info("%s monitoring at %s", name, os.getpid())


def stopped_monitoring(name: str) -> None:
    """Log the end of the monitor."""
    logger.info("%s stopped monitoring results", name)


def cannot_save(name: str, error: Exception) -> None:
    """Log that a server is unavailable for the monitor."""
    logger.error("%s: saving results failed, retrying: %s", name, one_line(error))


def saving_again(name: str) -> None:
    """Log that the server is available again for the monitor."""
    logger.info("%s: saving results succeeded again", name)


def not_saved(name: str, count: int) -> None:
    """Log that the cluster stopped while a server was unavailable for the monitor."""
    logger.error("%s: %d results not saved, tasks will be redelivered after lease expiry", name, count)


def unreadable(name: str, reason: str) -> None:
    """Log that an unreadable package became a dead letter."""
    logger.error("%s: package moved to the dead letters: %s", name, one_line(reason))


def interrupted(name: str, package: Any) -> None:
    """Log that the stop interrupted a running task."""
    logger.warning("%s: task %s was interrupted by the shutdown and will be redelivered", name, package["name"])


def look_up_hung(name: str, package: Any, reason: str) -> None:
    """Log that the look-up of a task's earlier success did not return."""
    text = "%s: look-up of an earlier success of task %s did not return (%s), task will be redelivered"
    logger.warning(text, name, package["name"], one_line(reason))


def hook_died(name: str, reason: str) -> None:
    """Log that a hook ended its worker."""
    logger.error("%s: a hook did not return: %s", name, one_line(reason))


def not_followed_up(name: str, count: int) -> None:
    """Log that no worker executed some hooks before the end of the stop."""
    logger.warning("%s: %d hooks did not run before the shutdown, their packages will be redelivered", name, count)


def leases_not_renewed(name: str, error: BaseException) -> None:
    """Log that leases of unsaved results could not be renewed."""
    logger.warning("%s: leases of unsaved results could not be renewed, retrying: %s", name, one_line(error))


def leases_renewed_again(name: str) -> None:
    """Log that leases of unsaved results are renewed again."""
    logger.info("%s: leases of unsaved results are renewed again", name)


def cannot_look_up(name: str, error: BaseException) -> None:
    """Log that the look-up of a redelivered task's earlier success failed."""
    logger.error("%s: look-up of an earlier success failed, retrying: %s", name, one_line(error))


def leaked_files(name: str) -> None:
    """Log that tasks have left too many files open."""
    logger.warning("%s: tasks left too many files open, worker replaced", name)


# the scheduler


def scheduling(name: str) -> None:
    """Log that the scheduler is ready."""
    logger.info("%s scheduling at %s", name, os.getpid())


def stopped_scheduling(name: str) -> None:
    """Log the end of the scheduler."""
    logger.info("%s stopped scheduling", name)


def no_statistics(name: str, error: Exception) -> None:
    """Log that the statistics could not be published."""
    logger.warning("%s: could not publish the statistics of the cluster, retrying: %s", name, one_line(error))


def label_of(schedule: Any) -> str:
    """Return the name of a schedule, or its id."""
    return one_line(schedule.name or schedule.pk)


def sent_from_schedule(name: str, schedule: Any, package: Any) -> None:
    """Log that the task of a due slot was sent."""
    logger.info("%s created task %s from schedule [%s]", name, one_line(package["name"]), label_of(schedule))


def skipped_slot(name: str, schedule: Any) -> None:
    """Log that a slot was skipped because the previous task has not ended."""
    logger.info(
        "%s: skipped a slot of schedule [%s] (its task %s still waits or runs)",
        name, label_of(schedule), schedule.waiting_for,
    )  # fmt: skip


def moments_restored(name: str, count: int) -> None:
    """Log that times were converted because the project has changed `USE_TZ` or `TIME_ZONE`."""
    logger.info("%s: times of %d schedules converted to the new time zone of the database (USE_TZ)", name, count)


def broken_schedule(name: str, schedule: Any, reason: str) -> None:
    """Log that the task of a schedule could not be sent."""
    logger.error("%s: cannot send schedule [%s] (%s), retrying", name, label_of(schedule), reason)


def cannot_schedule(name: str, error: Exception) -> None:
    """Log that the database or the broker is unavailable for the scheduler."""
    logger.error("%s: cannot send due schedules (%s), retrying", name, error_line(error))


def scheduling_failed(name: str, error: Exception) -> None:
    """Log that the scheduler failed, with the traceback, although no server is unavailable."""
    logger.error("%s: cannot send due schedules (%s), retrying\n%s", name, error_line(error), traceback_of(error))


def scheduling_again(name: str) -> None:
    """Log that the scheduler sends tasks again."""
    logger.info("%s: scheduling resumed", name)


def cannot_maintain(name: str, error: Exception) -> None:
    """Log that maintenance failed."""
    # The traceback as text: one with lone surrogates could not be written by every handler.
    trace = "" if is_unavailable(error) else f"\n{traceback_of(error)}"
    logger.error("%s: maintenance failed (%s), retrying%s", name, error_line(error), trace)


def maintaining_again(name: str) -> None:
    """Log that maintenance succeeded after a failure."""
    logger.info("%s: maintenance succeeded again", name)


def schedules_in_code(name: str, done: str, names: list[str]) -> None:
    """Log the changes of schedules that the code declares."""
    logger.info("%s: %s schedules declared in code: %s", name, done, ", ".join(map(one_line, names)))


def not_synchronised(name: str, error: Exception) -> None:
    """Log that the declared schedules could not be synchronised with the database."""
    logger.error(
        "%s: cannot synchronise the schedules declared in code (%s), they stay unchanged\n%s",
        name, error_line(error), traceback_of(error),
    )  # fmt: skip


def broken_declaration(name: str, schedule: str, reason: str) -> None:
    """Log that the code declares an invalid schedule."""
    logger.error("%s: invalid schedule [%s] declared in code (%s)", name, one_line(schedule), reason)


def fatal_module(name: str, module: str) -> None:
    """Log that a module is not imported, because its import ended or blocked the previous scheduler process."""
    logger.error("%s: module %s skipped (the previous scheduler ended or hung during its import)", name, module)


def broken_module(name: str, module: str, error: BaseException) -> None:
    """Log that a module which may declare schedules cannot be imported."""
    logger.error(
        "%s: cannot import %s (%s), the schedules that it declares stay unchanged\n%s",
        name, module, error_line(error), traceback_of(error),
    )  # fmt: skip
