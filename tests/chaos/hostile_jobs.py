"""Functions and classes of hostile tasks. The fuzz test copies this module into its site for the workers."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import io
import logging
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from unittest import mock

import freezegun
from django_q.execution.coroutines import TaskLoop

LONG = 1000
"""Seconds that a hostile task would take if nothing stopped it."""

OTHER = Path("/dev/zero")
"""File that a hostile task puts in the place of the standard files."""

FROZEN = 1_700_000_000
"""A time of the past, in seconds since the epoch: a hostile task freezes the time before it."""

HUGE_BYTES = 8 * 2**20

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

PREVIOUS = []
"""Labels of the tasks that ran in this process."""


def note(label, *words):
    label = ascii(str(label))[1:-1].replace(" ", "_")
    PREVIOUS.append(label)
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join([label, *words]) + "\n").encode())
    os.close(file)


# Normal tasks


def normal(label, *_, **__):
    found = damage()
    note(label, *found, *(["after", *PREVIOUS] if found else ()))
    return label


async def normal_coroutine(label):
    await asyncio.sleep(0)
    return normal(label)


def normal_hook(task):
    note(f"hook-{task.name}")


def damage():
    """List what an earlier task has left in this process."""
    from django.utils import timezone, translation

    found = ["environment"] if "HOSTILE" in os.environ else []
    if time.time() < FROZEN or time.localtime().tm_zone == "+0545":
        found.append("clock")
    if asyncio._get_running_loop() is not None and not isinstance(asyncio._get_running_loop(), TaskLoop):
        found.append("loop")
    try:
        if Path.cwd() != Path(os.environ["NOTES"]).parent:
            found.append("directory")
    except OSError:
        found.append("directory")
    mask = os.umask(0o022)
    os.umask(mask)
    if mask == 0o777:
        found.append("umask")
    if translation.get_language() == "ar":
        found.append("language")
    if timezone.get_current_timezone_name() != timezone.get_default_timezone_name():
        found.append("time-zone")
    found += [f"handler-{number.name}" for number in HANDLED if signal.getsignal(number) is hostile_handler]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    found += [f"blocked-{number.name}" for number in HANDLED if number in blocked]
    for descriptor in range(3):
        try:
            is_other = os.path.samestat(os.fstat(descriptor), OTHER.stat())
        except OSError:
            is_other = True
        if is_other:
            found.append(f"descriptor-{descriptor}")
    if isinstance(sys.stdout, Broken) or isinstance(sys.stderr, Broken):
        found.append("stdout")
    return found


def hostile_handler(*_):
    pass


# Labels, arguments and results


class Unprintable:
    """Its text forms raise."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Uncomparable:
    """Comparing it and asking for its truth or length raise, as with an array."""

    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None

    def __bool__(self):
        raise ValueError("ambiguous")

    def __len__(self):
        raise ValueError("ambiguous")

    def __iter__(self):
        raise ValueError("ambiguous")


class Impostor:
    """Its attributes raise, also `__class__`."""

    @property
    def __class__(self):
        raise RuntimeError("no class")

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"no {name}")

    def __reduce__(self):
        return Impostor, ()


class Text(str):  # noqa: SLOT000
    """A text with hostile methods."""

    def __str__(self):
        raise RuntimeError("no text")

    def __format__(self, spec):
        raise RuntimeError("no text")

    __repr__ = __str__


class Acting:
    """Does something when it is unpickled."""

    def __init__(self, act, *args):
        self.act, self.args = act, args

    def __reduce__(self):
        return self.act, self.args


class Pickling:
    """Does something when it is pickled."""

    def __init__(self, act, *args):
        self.act, self.args = act, args

    def __reduce__(self):
        self.act(*self.args)
        return str, ("pickled",)


class OnlyOnce:
    """Can be pickled by the sender, and not by a worker."""

    def __init__(self):
        self.sender = os.getpid()

    def __getstate__(self):
        if self.sender != os.getpid():
            raise RuntimeError("pickled already")
        return self.__dict__


class Restored:
    """Its state cannot be set."""

    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        raise RuntimeError("no state")


def raise_error(kind=ValueError, *args):
    raise kind(*args)


def exit_now(status=3):
    os._exit(status)


def kill_self(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(0.5)


def hang():
    time.sleep(LONG)


def spin():
    while True:
        pass


def recurse():
    return recurse()


def vanish():
    """Is removed from the module before a worker looks for it."""


def nested(depth=100_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


RESULTS = {
    "async_generator": lambda: _async_generator(),
    "closure": lambda: lambda: 1,
    "deep": nested,
    "exception": lambda: UnpicklableError(1, 2),
    "generator": lambda: (n for n in range(3)),
    "huge": lambda: os.urandom(HUGE_BYTES),
    "impostor": Impostor,
    "local_class": lambda: type("Local", (), {})(),
    "lock": threading.Lock,
    "module": lambda: os,
    "nul": lambda: "a\0b",
    "open_file": lambda: Path(__file__).open(),  # noqa: SIM115
    "pickling_exits": lambda: Pickling(exit_now),
    "pickling_hangs": lambda: Pickling(hang),
    "pickling_interrupts": lambda: Pickling(raise_error, KeyboardInterrupt),
    "pickling_kills": lambda: Pickling(kill_self),
    "pickling_quits": lambda: Pickling(raise_error, SystemExit, 1),
    "pickling_raises": lambda: Pickling(raise_error, RuntimeError, "a\0b\ud800"),
    "pickling_raises_unprintable": lambda: Pickling(raise_error, UnprintableError),
    "surrogate": lambda: "\ud800",
    "text": lambda: Text("text"),
    "uncomparable": Uncomparable,
    "unpickling_exits": lambda: Acting(exit_now),
    "unpickling_hangs": lambda: Acting(hang),
    "unpickling_quits": lambda: Acting(sys.exit, 2),
    "unpickling_raises": lambda: Acting(raise_error),
    "unprintable": Unprintable,
}


def returns(label, name):
    note(label)
    return RESULTS[name]()


async def _async_generator():
    yield 1


def mutates(label, values, options=None):
    note(label)
    values.append(label)
    values[0] = lambda: 1
    if options is not None:
        options.clear()
        options["open"] = threading.Lock()
    return len(values)


# Exceptions


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class QuittingError(Exception):
    def __str__(self):
        raise SystemExit(5)


class NoTextError(Exception):
    def __str__(self):
        return 42  # noqa: PLE0307


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = threading.Lock()


class HangingError(Exception):
    def __str__(self):
        time.sleep(LONG)
        return ""


class OwnBaseError(BaseException):
    pass


def _cycle():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def _deep_cause():
    error = ValueError("0")
    for number in range(3000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    return error


def _deep_group():
    error = ValueError("0")
    for _ in range(500):
        error = ExceptionGroup("group", [error])
    return error


def _noted():
    error = ValueError("noted")
    error.__notes__ = ["\ud800\0", Unprintable()]
    return error


def _local():
    class LocalError(Exception):
        pass

    return LocalError(lambda: 1)


def _syntax():
    error = SyntaxError("\ud800", ("file\0", 10**9, -5, "\ud800" * 5))
    error.text = "\0"
    return error


def _database(name):
    import django.db

    return getattr(django.db, name)("server closed the connection unexpectedly")


def _unavailable():
    from django_q.exceptions import BrokerUnavailable

    return BrokerUnavailable("no broker")


def _timeout():
    from django_q.exceptions import TimeoutException

    return TimeoutException("own")


ERRORS = {
    "base": OwnBaseError,
    "broker_unavailable": _unavailable,
    "cancelled": asyncio.CancelledError,
    "connection": lambda: ConnectionResetError(104, "reset"),
    "cycle": _cycle,
    "deep_cause": _deep_cause,
    "deep_group": _deep_group,
    "empty": Exception,
    "exit": lambda: SystemExit(0),
    "exit_text": lambda: SystemExit("\ud800\0"),
    "generator_exit": GeneratorExit,
    "hanging_text": HangingError,
    "huge_text": lambda: ValueError("x" * HUGE_BYTES),
    "interface": lambda: _database("InterfaceError"),
    "keyboard": KeyboardInterrupt,
    "lines": lambda: ValueError("one\r\n2026-01-01 [Q] INFO forged\n\x1b[31mred\u2028three"),
    "local": _local,
    "memory": MemoryError,
    "no_text": NoTextError,
    "notes": _noted,
    "nul": lambda: ValueError("a\0b"),
    "object": lambda: ValueError(Unprintable()),
    "operational": lambda: _database("OperationalError"),
    "os": lambda: OSError(28, "No space left on device", "\udcff"),
    "own_timeout": _timeout,
    "percent": lambda: ValueError("%s %d %(x)s {0} {x}"),
    "quitting_text": QuittingError,
    "stop_iteration": StopIteration,
    "surrogate": lambda: ValueError("\ud800"),
    "syntax": _syntax,
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\ud800"),
    "unpicklable": lambda: UnpicklableError(1, 2),
    "unprintable": UnprintableError,
    "wide": lambda: ValueError("\U0001f4a9\u0100"),
}


def raises(label, name):
    note(label)
    error = ERRORS[name]()
    raise error


# What happens to the process


class Broken:
    """A stream that cannot be used."""

    def __getattr__(self, name):
        raise ValueError("I/O operation on closed file")


def _swallow(*, back):
    end = time.monotonic() + (2 if back else LONG)
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                time.sleep(0.02)
        except BaseException:  # noqa: BLE001
            pass


def _finally_hangs():
    try:
        time.sleep(LONG)
    finally:
        time.sleep(LONG)


def _block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _block_signals_and_hang():
    _block_signals()
    time.sleep(LONG)


def _handlers():
    for number in HANDLED:
        signal.signal(number, hostile_handler)


def _handlers_and_hang():
    _handlers()
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        time.sleep(1)


def _alarms():
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(LONG)


def _alarm_later():
    signal.signal(signal.SIGALRM, hostile_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)


def _environment():
    os.environ["HOSTILE"] = "1"
    os.environ["DJANGO_SETTINGS_MODULE"] = "hostile_jobs"
    os.environ["TZ"] = "Asia/Kathmandu"
    os.environ.pop("PATH", None)


def _lost_directory():
    import tempfile

    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()


def _language():
    from django.utils import translation

    translation.activate("ar")


def _time_zone():
    from django.utils import timezone

    timezone.activate("Asia/Kathmandu")


def _streams():
    sys.stdout = sys.stderr = sys.stdin = Broken()


def _close_streams():
    sys.stdout.close()
    sys.stderr.close()


def _thread(*, daemon):
    threading.Thread(target=time.sleep, args=(LONG,), daemon=daemon, name="hostile").start()


def _raising_thread():
    thread = threading.Thread(target=raise_error, name="hostile")
    thread.start()
    thread.join()


STAYS = "STAYS"
"""In the environment of a program that its task leaves running when it returns: it is not left behind."""


def _child(*, stays=False):
    subprocess.Popen(["sleep", str(LONG)], env=os.environ | ({STAYS: "1"} if stays else {}))


def _child_in_session():
    subprocess.Popen(["sleep", str(LONG)], start_new_session=True)


def _child_ignores_signals():
    subprocess.Popen(["sh", "-c", f"trap '' TERM INT HUP; sleep {LONG}"], env=os.environ | {STAYS: "1"})


def _multiprocessing_child():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,)).start()


def _daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(LONG)
        os._exit(0)


def _fork_returns():
    os.fork()


def _fork_raises():
    if os.fork() == 0:
        raise SystemExit(1)


def _child_and_die():
    _child()
    kill_self()


def _child_and_hang():
    _child()
    time.sleep(LONG)


def _transaction():
    from django.contrib.auth.models import Group
    from django.db import connection

    connection.set_autocommit(False)
    Group.objects.create(name=os.urandom(8).hex())


def _broken_transaction():
    from django.db import connection, transaction

    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


def _closed_connection():
    from django.db import connection

    connection.ensure_connection()
    connection.connection.close()


def _logging():
    logging.getLogger("django-q").info("%d %s", "one", extra={"task_id": 1, "event": Unprintable(), "func": None})
    logging.getLogger("django-q").error("\ud800\0 %s", Unprintable())


def _logging_off():
    logging.disable(logging.CRITICAL)
    logging.shutdown()


def _other_files():
    """Replace the standard files, as code does that captures what a library in C prints."""
    file = os.open(OTHER, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(file, descriptor)
    os.close(file)


def change_and_raise():
    """Change what `damage` lists, and raise an error."""
    _environment()
    os.chdir("/")
    os.umask(0o777)
    _handlers()
    raise_error()


def change():
    with suppress(ValueError):
        change_and_raise()


def _raising_handler():
    handler = logging.Handler()
    handler.emit = lambda _: raise_error()
    logging.getLogger("django-q").addHandler(handler)


def _record_factory():
    logging.setLogRecordFactory(lambda *_, **__: raise_error())


def _limits():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))


def _detach_stream():
    sys.stdout = io.TextIOWrapper(sys.stdout.detach())


def _environment_object():
    os.environ = {**os.environ, "HOSTILE": "1"}  # noqa: B003


def _time_zone_of_the_system():
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()


def _allocate():
    return bytearray(2**62 - 1)


def _own_excepthook():
    sys.excepthook = lambda *_: os._exit(9)


def _null_pointer():
    ctypes.string_at(0)


ACTS = {
    "abort": os.abort,
    "alarm_later": _alarm_later,
    "alarms_and_hang": _alarms,
    "allocate": _allocate,
    "block_signals": _block_signals,
    "block_signals_and_hang": _block_signals_and_hang,
    "broken_transaction": _broken_transaction,
    "c_loop": lambda: sum(range(10**12)),
    "child": lambda: _child(stays=True),
    "child_and_die": _child_and_die,
    "child_and_hang": _child_and_hang,
    "child_ignores_signals": _child_ignores_signals,
    "child_in_session": _child_in_session,
    "close_all": lambda: os.closerange(3, 1024),
    "close_standard": lambda: os.closerange(0, 3),
    "close_streams": _close_streams,
    "closed_connection": _closed_connection,
    "daemon": _daemon,
    "daemon_thread": lambda: _thread(daemon=True),
    "detach_stream": _detach_stream,
    "directory": lambda: os.chdir("/"),
    "dump_later": lambda: faulthandler.dump_traceback_later(0.01, exit=True),
    "environment": _environment,
    "environment_object": _environment_object,
    "excepthook": _own_excepthook,
    "exit_0": lambda: os._exit(0),
    "exit_3": lambda: os._exit(3),
    "finally_hangs": _finally_hangs,
    "fork_raises": _fork_raises,
    "fork_returns": _fork_returns,
    "freeze": lambda: freezegun.freeze_time("2020-01-01").start(),
    "handlers": _handlers,
    "handlers_and_hang": _handlers_and_hang,
    "hang": hang,
    "kill": kill_self,
    "language": _language,
    "limits": _limits,
    "logging": _logging,
    "logging_off": _logging_off,
    "loop": lambda: asyncio._set_running_loop(asyncio.new_event_loop()),
    "lost_directory": _lost_directory,
    "multiprocessing_child": _multiprocessing_child,
    "other_files": _other_files,
    "patch_pickle": lambda: mock.patch("pickle.dumps", side_effect=ValueError).start(),
    "patch_present": lambda: mock.patch("django.utils.timezone.now").start(),
    "profiler": lambda: sys.setprofile(mock.MagicMock(__eq__=mock.Mock(side_effect=ValueError))),
    "raising_handler": _raising_handler,
    "raising_thread": _raising_thread,
    "record_factory": _record_factory,
    "recursion": recurse,
    "recursion_limit": lambda: sys.setrecursionlimit(80),
    "seed": lambda: random.seed(1),
    "segfault": _null_pointer,
    "signal_hup": lambda: kill_self(signal.SIGHUP),
    "signal_int": lambda: kill_self(signal.SIGINT),
    "signal_term": lambda: kill_self(signal.SIGTERM),
    "spin": spin,
    "stop": lambda: kill_self(signal.SIGSTOP),
    "streams": _streams,
    "swallow": lambda: _swallow(back=False),
    "swallow_and_return": lambda: _swallow(back=True),
    "thread": lambda: _thread(daemon=False),
    "time_zone": _time_zone,
    "time_zone_of_the_system": _time_zone_of_the_system,
    "timers": lambda: [signal.setitimer(each, 0.001, 0.001) for each in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL)],
    "transaction": _transaction,
    "umask": lambda: os.umask(0o777),
    "warnings": lambda: warnings.simplefilter("error"),
}


def acts(label, name):
    note(label)
    ACTS[name]()


def member(name, *args):
    """Call another function of this module: the function of an iter."""
    return globals()[name](*args)


# Coroutines


async def _swallow_cancel():
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)


LEFT = []


async def coroutine(label, name):
    note(label)
    loop = asyncio.get_running_loop()
    if name == "cancels_itself":
        asyncio.current_task().cancel()
        await asyncio.sleep(1)
    elif name == "closes_loop":
        loop.stop()
        await asyncio.sleep(1)
    elif name == "hangs":
        await asyncio.sleep(LONG)
    elif name == "leaves_tasks":
        LEFT.append(loop.create_task(asyncio.sleep(LONG)))
    elif name == "leaves_stubborn_task":
        LEFT.append(loop.create_task(_swallow_cancel()))
        await asyncio.sleep(0)
    elif name == "exits":
        sys.exit(3)
    elif name == "left_task_exits":
        LEFT.append(loop.create_task(asyncio.to_thread(raise_error, SystemExit)))
        await asyncio.sleep(0.1)
    elif name == "swallows":
        await _swallow_cancel()
    elif name == "blocks":
        time.sleep(LONG)  # noqa: ASYNC251
    elif name == "executor":
        loop.run_in_executor(None, time.sleep, LONG)
    return label


COROUTINES = (
    "blocks", "cancels_itself", "closes_loop", "executor", "exits", "hangs", "leaves_stubborn_task", "leaves_tasks",
    "left_task_exits", "swallows",
)  # fmt: skip


# Hooks


def hook_raises(task):
    raise UnprintableError


def hook_quits(task):
    sys.exit(3)


def hook_exits(task):
    os._exit(3)


def hook_kills(task):
    kill_self()


def hook_segfaults(task):
    _null_pointer()


def hook_hangs(task):
    time.sleep(LONG)


def hook_swallows(task):
    _swallow(back=False)


def hook_stops(task):
    kill_self(signal.SIGSTOP)


def hook_forks(task):
    os.fork()


def hook_closes(task):
    os.closerange(3, 1024)


def hook_changes(task):
    task.id, task.result, task.success, task.func = None, Unprintable(), "\0", lambda: 1
    task.delete()


def hook_without_arguments():
    pass


async def hook_coroutine(task):
    await asyncio.sleep(0)
    note(f"awaited-{task.name}")


async def hook_coroutine_raises(task):
    raise asyncio.CancelledError


HOOKS = (
    "hook_changes", "hook_closes", "hook_coroutine", "hook_coroutine_raises", "hook_exits", "hook_forks", "hook_hangs",
    "hook_kills", "hook_quits", "hook_raises", "hook_segfaults", "hook_stops", "hook_swallows",
    "hook_without_arguments",
)  # fmt: skip
