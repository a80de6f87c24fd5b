"""Table of hostile tasks: how each kind is sent and how it may end. The fuzz test copies this module into its site."""

from __future__ import annotations

import enum
import os
import pickle
import random
import signal
import sys
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import hostile_jobs as jobs
from django_q.brokers import get_broker
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Schedule
from django_q.settings import current_settings
from django_q.tasks import async_chain, async_iter, async_task, schedule
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import new_id, next_id
from django_q.wire.package import new_package

if TYPE_CHECKING:
    from collections.abc import Callable

NOTE = "hostile_jobs.normal"
"""Path of a function that does nothing hostile."""

SUCCESS, FAILURE, DEAD, REJECTED = "success", "failure", "dead letter", "rejected"
RECORDED = frozenset({SUCCESS, FAILURE})
ANY = frozenset({SUCCESS, FAILURE, DEAD})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way to be hostile."""

    send: Callable[[str], object]
    """Takes a label, sends, and returns the ids of the tasks whose end is checked."""
    ends: frozenset[str]
    slow: bool
    """True if it takes a worker for seconds; it is drawn less often."""


KINDS: dict[str, Kind] = {}


def add(name: str, send: Callable[[str], object], *ends: str, slow: bool = False) -> None:
    KINDS[name] = Kind(send=send, ends=frozenset(ends), slow=slow)


class Colour(enum.Enum):
    RED = 1


class Shade(str, enum.Enum):  # noqa: UP042
    DARK = "dark"


def option(key: str, value: object) -> Callable[[str], object]:
    return lambda label: async_task(NOTE, label, **{key: value() if callable(value) else value})


# Labels

LABELS = {
    "bytes": b"raw\xff",
    "decimal": Decimal("1.50"),
    "empty": "",
    "enum": Colour.RED,
    "float": 1.5,
    "int": 42,
    "lines": "one\ntwo\r\x1b[31m",
    "long": "x" * 10_000,
    "long_wide": "\u65e5" * 10_000,
    "negative": -1,
    "nul": "a\0b",
    "only_nul": "\0",
    "percent": "%s%d{0}",
    "space": " ",
    "str_enum": Shade.DARK,
    "surrogate": "a\ud800b",
    "uuid": uuid.UUID(int=7),
    "wide": "\U0001f4a9",
    "zero": 0,
}

for _name, _value in LABELS.items():
    for _key in ("group", "task_name"):
        add(f"{_key}_{_name}", option(_key, _value), SUCCESS, *((REJECTED,) if _name == "bytes" else ()))
    add(
        f"cached_group_{_name}",
        lambda label, value=_value: async_task(NOTE, label, group=value, cached=True),
        SUCCESS, *((REJECTED,) if _name == "bytes" else ()),
    )  # fmt: skip
for _key in ("group", "task_name"):
    add(f"{_key}_list", option(_key, ["a"]), REJECTED)
    add(f"{_key}_dict", option(_key, {"a": 1}), REJECTED)
    add(f"{_key}_set", option(_key, {1}), REJECTED)
    add(f"{_key}_unprintable", option(_key, jobs.Unprintable), REJECTED)
    add(f"{_key}_text_class", option(_key, lambda: jobs.Text("text")), SUCCESS, REJECTED)
    add(f"{_key}_lock", option(_key, threading.Lock), SUCCESS, REJECTED)
    add(f"{_key}_acting", option(_key, lambda: jobs.Acting(jobs.exit_now)), SUCCESS, REJECTED)

# Other options

for _name, _value in {
    "text": "soon", "negative": -1, "nan": float("nan"), "infinite": float("inf"), "list": [1], "dict": {},
    "object": jobs.Unprintable, "complex": 1j,
}.items():  # fmt: skip
    add(f"timeout_{_name}", option("timeout", _value), REJECTED)
add("timeout_zero", option("timeout", 0), REJECTED, FAILURE, SUCCESS)
add("timeout_huge", option("timeout", 10**30), REJECTED, SUCCESS)
add("timeout_tiny", option("timeout", 1e-9), FAILURE, SUCCESS)
for _name, _value in {
    "list": [1], "nan": float("nan"), "negative": -5, "text": "yes", "object": jobs.Unprintable,
}.items():  # fmt: skip
    add(f"cached_{_name}", option("cached", _value), REJECTED, *((SUCCESS,) if _name in ("text", "object") else ()))
    add(f"save_{_name}", option("save", _value), REJECTED, SUCCESS)
    add(f"ack_failure_{_name}", option("ack_failure", _value), REJECTED, SUCCESS)
add("hook_int", option("hook", 42), REJECTED)
add("hook_lambda", option("hook", lambda: lambda task: None), REJECTED)
add("hook_list", option("hook", ["hostile_jobs.note"]), REJECTED)
add("hook_unprintable", option("hook", jobs.Unprintable), REJECTED)
add("broker_text", option("broker", "redis"), REJECTED)
add("cluster_list", option("cluster", ["a"]), REJECTED)
add("cluster_unprintable", option("cluster", jobs.Unprintable), REJECTED)
add("q_options_list", option("q_options", ["group"]), REJECTED)
add("q_options_unknown", option("q_options", {"grup": 1}), REJECTED)
add("q_options_unprintable_key", option("q_options", lambda: {jobs.Unprintable(): 1}), REJECTED)
add("chain_text", option("chain", "abc"), REJECTED)
add("iter_count_text", option("iter_count", "three"), REJECTED)
add("odd_keyword", lambda label: async_task(NOTE, label, **{"\ud800\0": 1, "": 2}), SUCCESS)

# Functions

for _name, _value in {
    "int": 42, "none": None, "list": [NOTE], "lambda": lambda: lambda: 1,
    "lock_method": lambda: threading.Lock().acquire,
    "unprintable": jobs.Unprintable, "partial_of_lambda": lambda: partial(lambda: 1),
}.items():  # fmt: skip
    add(
        f"func_{_name}",
        lambda label, value=_value: async_task(value() if callable(value) else value, label),
        REJECTED,
    )
for _name, _value in {
    "long": "x" * 10_000, "missing": "hostile_jobs.missing", "module": "hostile_jobs", "no_module": "no.such.module",
    "nul": "hostile_jobs.\0note", "not_callable": "hostile_jobs.LONG", "surrogate": "hostile_jobs.\ud800",
    "relative": "..note", "percent": "%s.%d", "dots": "." * 300, "class": "hostile_jobs.Impostor",
}.items():  # fmt: skip
    add(f"func_{_name}", lambda label, value=_value: async_task(value, label), FAILURE, REJECTED)
add("func_empty", lambda label: async_task("", label), FAILURE, REJECTED)


def _from_main(label: str) -> object:
    main = sys.modules["__main__"]
    exec("def own(*_): pass\nclass Own: pass", vars(main))
    return async_task(main.own, label)


def _argument_from_main(label: str) -> object:
    main = sys.modules["__main__"]
    exec("class Own: pass", vars(main))
    return async_task(NOTE, label, main.Own())


add("func_of_main", _from_main, REJECTED)
add("argument_of_main", _argument_from_main, REJECTED)


def _vanished(label: str) -> object:
    """Send a class that the workers do not have."""
    module = sys.modules["hostile_vanished"] = ModuleType("hostile_vanished")
    exec("class Gone: pass\ndef gone(*_): pass", vars(module))
    return async_task(NOTE, label, module.Gone())


def _vanished_function(label: str) -> object:
    _vanished("module")
    return async_task(sys.modules["hostile_vanished"].gone, label)


def _vanished_attribute(label: str) -> object:
    jobs.Passing = type("Passing", (), {"__module__": "hostile_jobs", "__qualname__": "Passing"})
    return async_task(NOTE, label, jobs.Passing())


add("argument_of_missing_module", _vanished, FAILURE, DEAD)
add("func_of_missing_module", _vanished_function, FAILURE, DEAD)
add("argument_of_missing_class", _vanished_attribute, FAILURE, DEAD)

# Arguments


def argument(make: Callable[[], object]) -> Callable[[str], object]:
    return lambda label: async_task(NOTE, label, make())


for _name, _make in {
    "lambda": lambda: lambda: 1, "lock": threading.Lock, "generator": lambda: (n for n in "ab"), "deep": jobs.nested,
    "pickling_raises": lambda: jobs.Pickling(jobs.raise_error), "frame": lambda: sys._getframe(),
    "pickling_raises_unprintable": lambda: jobs.Pickling(jobs.raise_error, jobs.UnprintableError),
}.items():  # fmt: skip
    add(f"argument_{_name}", argument(_make), REJECTED)
for _name, _make in {
    "huge": lambda: os.urandom(jobs.HUGE_BYTES), "nul": lambda: "a\0b\ud800", "only_once": jobs.OnlyOnce,
    "text": lambda: jobs.Text("x"), "uncomparable": jobs.Uncomparable, "unprintable": jobs.Unprintable,
}.items():  # fmt: skip
    add(f"argument_{_name}", argument(_make), SUCCESS)
add("argument_impostor", argument(jobs.Impostor), SUCCESS, REJECTED)
for _name, _make in {
    "changes_and_raises": lambda: jobs.Acting(jobs.change_and_raise),
    "exits": lambda: jobs.Acting(jobs.exit_now), "exits_0": lambda: jobs.Acting(jobs.exit_now, 0),
    "interrupts": lambda: jobs.Acting(jobs.raise_error, KeyboardInterrupt),
    "kills": lambda: jobs.Acting(jobs.kill_self),
    "memory": lambda: jobs.Acting(jobs.raise_error, MemoryError), "quits": lambda: jobs.Acting(sys.exit, 3),
    "raises": lambda: jobs.Acting(jobs.raise_error), "recurses": lambda: jobs.Acting(jobs.recurse),
    "raises_unprintable": lambda: jobs.Acting(jobs.raise_error, jobs.UnprintableError), "state": jobs.Restored,
    "segfaults": lambda: jobs.Acting(jobs._null_pointer), "database": lambda: jobs.Acting(jobs._database, "Missing"),
    "terminates": lambda: jobs.Acting(jobs.raise_error, GeneratorExit),
}.items():  # fmt: skip
    add(f"argument_{_name}", argument(_make), FAILURE, DEAD)
for _name, _make in {
    "hangs": lambda: jobs.Acting(jobs.hang), "spins": lambda: jobs.Acting(jobs.spin),
    "stops": lambda: jobs.Acting(jobs.kill_self, signal.SIGSTOP),
}.items():  # fmt: skip
    add(f"argument_{_name}", argument(_make), FAILURE, DEAD, slow=True)
add("argument_mutated", lambda label: async_task("hostile_jobs.mutates", label, [1], {"a": 1}), SUCCESS)

# Results, errors, and what else a task can do

for _name in jobs.RESULTS:
    _fine = _name in {
        "exception", "huge", "impostor", "nul", "surrogate", "text", "uncomparable", "unpickling_exits",
        "unpickling_hangs", "unpickling_quits", "unpickling_raises", "unprintable",
    }  # fmt: skip
    for _key, _more in {"": {}, "cached_": {"cached": True}, "hooked_": {"hook": "hostile_jobs.normal_hook"}}.items():
        add(
            f"{_key}result_{_name}",
            lambda label, name=_name, more=_more: async_task(
                "hostile_jobs.returns", label, name, timeout=1, **more
            ),
            *((SUCCESS, FAILURE) if _fine else (FAILURE,)), slow="hangs" in _name,
        )  # fmt: skip
for _name in jobs.ERRORS:
    add(
        f"error_{_name}",
        lambda label, name=_name: async_task("hostile_jobs.raises", label, name, timeout=1, task_name=label),
        FAILURE, slow="hang" in _name,
    )  # fmt: skip
    add(
        f"cached_error_{_name}",
        lambda label, name=_name: async_task("hostile_jobs.raises", label, name, timeout=1, cached=True),
        FAILURE, slow="hang" in _name,
    )  # fmt: skip

HANGING = {
    "alarms_and_hang", "block_signals_and_hang", "c_loop", "child_and_hang", "finally_hangs", "handlers_and_hang",
    "hang", "spin", "stop", "swallow", "swallow_and_return",
}  # fmt: skip
DYING = {"abort", "child_and_die", "exit_0", "exit_3", "kill", "segfault"}
RAISING = {"allocate", "broken_transaction", "recursion"}
for _name in jobs.ACTS:
    _ends = {FAILURE} if _name in HANGING | DYING | RAISING else RECORDED
    add(
        f"act_{_name}",
        lambda label, name=_name: async_task("hostile_jobs.acts", label, name, timeout=1),
        *_ends, slow=_name in HANGING,
    )  # fmt: skip
for _name in jobs.COROUTINES:
    add(
        f"coroutine_{_name}",
        lambda label, name=_name: async_task("hostile_jobs.coroutine", label, name, timeout=1),
        *RECORDED, slow=_name in ("blocks", "hangs", "leaves_stubborn_task", "swallows"),
    )  # fmt: skip

# Hooks: their task is done, whatever they do.

for _name in (*jobs.HOOKS, "missing", "LONG"):
    add(
        f"hook_of_{_name}",
        lambda label, name=_name: async_task(NOTE, label, hook=f"hostile_jobs.{name}", task_name=label),
        SUCCESS, slow=_name in ("hook_hangs", "hook_stops", "hook_swallows"),
    )  # fmt: skip
for _name in ("\0", "\ud800", "no.such.module.hook", "x" * 10_000, "hostile_import_raises.hook"):
    add(f"hook_path_{ascii(_name)[:24]}", option("hook", _name), SUCCESS, REJECTED)

# Imports

MODULES = {
    "exits": "import os; os._exit(3)",
    "hangs": "import time; time.sleep(1000)",
    "interrupts": "raise KeyboardInterrupt",
    "kills": "import os; os.kill(os.getpid(), 9)",
    "quits": "raise SystemExit(0)",
    "raises": "from hostile_jobs import UnprintableError\nraise UnprintableError",
    "recurses": "from hostile_jobs import recurse\nrecurse()",
    "syntax": "def (:",
}
"""Name → text of modules `hostile_import_…`."""

for _name in MODULES:
    add(
        f"import_{_name}",
        lambda label, name=_name: async_task(f"hostile_import_{name}.function", label),
        FAILURE, slow=_name == "hangs",
    )  # fmt: skip

# Chains and iters


def chain(*links: object) -> Callable[[str], object]:
    return lambda label: async_task(NOTE, label, chain=[link(label) if callable(link) else link for link in links])


for _name, _links in {
    "int": [42], "none": [None], "empty_link": [()], "text": "abc",
    "unknown_option": [(NOTE, ("x",), {"q_options": 1})],
    "lambda": [(lambda _: (lambda: 1, ()))], "many": [(NOTE, (1,), {}, 4, 5)], "unprintable": [jobs.Unprintable()],
    "group_list": [(NOTE, ("x",), {"group": []})],
}.items():  # fmt: skip
    add(f"chain_{_name}", chain(*_links), REJECTED, SUCCESS)
for _name, _link in {
    "dies": lambda label: ("hostile_jobs.acts", (f"{label}-2", "exit_3")),
    "exits": lambda label: (NOTE, (f"{label}-2", jobs.Acting(jobs.exit_now))),
    "group": lambda label: (NOTE, (f"{label}-2",), {"group": "\0" * 5000}),
    "missing": lambda label: ("hostile_jobs.missing", (label,)),
    "raises": lambda label: ("hostile_jobs.raises", (f"{label}-2", "unprintable")),
}.items():
    _send = chain(_link, _link)
    add(f"chain_that_{_name}", lambda label, send=_send: [first := send(label), next_id(first)], *ANY)
add("async_chain_int", lambda label: async_chain([42]), REJECTED)
add("async_chain_odd_group", lambda label: async_chain([(NOTE, (label,))], group=uuid.UUID(int=5)) and None, SUCCESS)


def members(*make: Callable[[str], object], **options: object) -> Callable[[str], object]:
    return lambda label: async_iter("hostile_jobs.member", [one(label) for one in make], **options)


def _fails_midway(label: str):
    yield (label,)
    raise OptionError("the members end here")


for _name, _one in {
    "dies": lambda label: ("acts", f"{label}-1", "exit_3"),
    "kills": lambda label: ("acts", f"{label}-1", "kill"),
    "raises": lambda label: ("raises", f"{label}-1", "unprintable"),
    "returns_lambda": lambda label: ("returns", f"{label}-1", "closure"),
    "returns_huge": lambda label: ("returns", f"{label}-1", "huge"),
    "returns_evil": lambda label: ("returns", f"{label}-1", "unpickling_raises"),
    "takes_exit": lambda label: ("normal", f"{label}-1", jobs.Acting(jobs.exit_now)),
    "takes_raise": lambda label: ("normal", f"{label}-1", jobs.Acting(jobs.raise_error)),
    "mutates": lambda label: ("mutates", f"{label}-1", [1]),
}.items():
    for _key, _more in {"": {}, "cached_": {"cached": True}}.items():
        add(f"{_key}iter_{_name}", members(lambda label: ("normal", f"{label}-0"), _one, **_more), *RECORDED)
add("iter_empty", lambda label: async_iter(NOTE, []), *RECORDED, REJECTED)
add("iter_int", lambda label: async_iter(NOTE, 42), REJECTED, "TypeError at the call")
add("iter_lambda_member", members(lambda label: ("normal", lambda: 1)), REJECTED)
add("iter_fails_midway", lambda label: async_iter(NOTE, _fails_midway(label)), REJECTED)
add("iter_odd_group", members(lambda label: ("normal", label), group="\0\ud800" * 999), SUCCESS)

# Packages that async_task did not make: they have no id to look for, and count as dead letters.


def raw(make: Callable[[PackageCodec], str | bytes]) -> Callable[[str], object]:
    return lambda label: get_broker().enqueue(make(PackageCodec.of(current_settings()))) and None


def package(**changes: object) -> Callable[[str], object]:
    """Send a signed package with changed keys; a key whose value is `...` is left out."""

    def send(label: str) -> object:
        made = dict(new_package(NOTE, (label,), {}, task_id=new_id())) | changes
        made = {key: value for key, value in made.items() if value is not ...}
        get_broker().enqueue(PackageCodec.of(current_settings()).dumps(made))
        return made["id"] if changes.get("id", True) is True else None

    return send


GARBAGE = {
    "foreign": lambda codec: PackageCodec("another").dumps({"id": "1"}),
    "list": lambda codec: codec.dumps(["no task"]),
    "none": lambda codec: codec.dumps(None),
    "empty_dict": lambda codec: codec.dumps({}),
    "text": lambda codec: "no package at all",
    "cut": lambda codec: codec.dumps({"id": "1"})[:-5],
    "colons": lambda codec: ":" * 500,
    "pickle": lambda codec: pickle.dumps({"id": 1}, 0).decode(),
    "wide": lambda codec: "\u65e5\U0001f4a9" * 50,
    "long": lambda codec: "x" * 2**20,
}
for _name, _make in GARBAGE.items():
    add(f"garbage_{_name}", raw(_make), DEAD)
for _name, _changes in {
    "args_none": {"args": None}, "args_text": {"args": "abc"}, "kwargs_list": {"kwargs": [1]},
    "kwargs_int_keys": {"kwargs": {1: 2}}, "name_none": {"name": None}, "name_nul": {"name": "\0\ud800" * 999},
    "name_missing": {"name": ...}, "func_none": {"func": None}, "func_int": {"func": 42}, "func_missing": {"func": ...},
    "started_text": {"started": "yesterday"}, "started_missing": {"started": ...},
    "started_naive": {"started": datetime(2026, 1, 1)}, "started_far": {"started": datetime(9999, 12, 31, tzinfo=UTC)},
    "timeout_text": {"timeout": "soon"}, "timeout_nan": {"timeout": float("nan")}, "timeout_negative": {"timeout": -1},
    "group_int": {"group": 42}, "group_list": {"group": ["a"]}, "group_long": {"group": "g" * 5000},
    "hook_int": {"hook": 42}, "chain_int": {"chain": 42}, "chain_of_int": {"chain": [42]},
    "cached_text": {"cached": "x"},
    "iter_count_text": {"iter_count": "x", "group": "g"}, "iter_count_alone": {"iter_count": 3},
    "cluster_int": {"cluster": 42}, "save_text": {"save": "x"}, "ack_failure_text": {"ack_failure": "x"},
    "result_given": {"result": 1, "success": True, "stopped": "now"}, "attempt_text": {"attempt": "x"},
    "args_change_func_missing": {"func": ..., "args": [jobs.Acting(jobs.change)]},
    "extra_acting": {"zzz": jobs.Acting(jobs.raise_error)},
}.items():  # fmt: skip
    add(f"package_{_name}", package(**_changes), *ANY)
for _name, _value in {"int": 7, "none": None, "long": "f" * 400, "nul": "\0" * 32, "taken": "0" * 32}.items():
    add(f"package_id_{_name}", package(id=_value), *ANY)

# Schedules, as rows that no form and no function has checked. A failure is an error that the row shows.


def scheduled(**changes: object) -> Callable[[str], object]:
    """Save a schedule that is due once, unless the changes say otherwise."""

    def send(label: str) -> str:
        fields = {"func": NOTE, "args": f"{label!r},", "name": label} | changes
        (row,) = Schedule.objects.bulk_create([Schedule(**fields)])
        return f"schedule-{row.pk}"

    return send


for _name, _changes in {
    "args_call": {"args": "__import__('os')._exit(3)"}, "args_deep": {"args": "[" * 5000 + "]" * 5000},
    "args_open": {"args": "(((("}, "args_name": {"args": "label"}, "kwargs_call": {"kwargs": "a=__import__('os')"},
    "kwargs_open": {"kwargs": "x="}, "options_list": {"kwargs": "q_options=[1]"},
    "options_unknown": {"kwargs": "q_options={'grup': 1}"},
    "timeout_text": {"kwargs": "q_options={'timeout': 'soon'}"}, "type": {"schedule_type": "?"},
    "cron": {"schedule_type": "C", "cron": "61 * * * *"}, "cron_none": {"schedule_type": "C", "cron": None},
    "minutes_none": {"schedule_type": "I", "minutes": None}, "group_list": {"kwargs": "q_options={'group': [1]}"},
}.items():  # fmt: skip
    add(f"schedule_{_name}", scheduled(**_changes), FAILURE)
for _name, _changes in {
    "args_huge": {"args": repr(("x" * 2**20,))}, "args_surrogate": {"args": r"'\ud800\0',"},
    "func_empty": {"func": ""}, "func_missing": {"func": "hostile_jobs.missing"}, "func_lines": {"func": "a\nb"},
    "hook": {"hook": "no.such.hook"}, "intended_date": {"intended_date_kwarg": "no name"},
    "name_lines": {"name": "one\n2026 [Q] INFO forged\x1b[31m"}, "name_none": {"name": None},
    "year_1": {"next_run": datetime(1, 1, 1, tzinfo=UTC)},
    "kills": {"func": "hostile_jobs.kill_self", "args": None, "overlap": False},
    "minutes_0": {"args": "'minutes',", "schedule_type": "I", "minutes": 0, "repeats": 3},
}.items():  # fmt: skip
    add(f"schedule_{_name}", scheduled(**_changes), *RECORDED)


def send(seed: int, batch: list[list[str]]) -> list[list[object]]:
    """Send tasks, each a pair of a label and the name of a kind.

    Returns:
        For each the label, how the call ended (`sent`, `rejected`, or an error), and the ids.
    """
    chance = random.Random(seed)
    answers = []
    for label, name in batch:
        try:
            ids = NORMAL[name](label, chance) if name in NORMAL else KINDS[name].send(label)
        except (OptionError, UnsendableTask):
            answers.append([label, REJECTED, []])
        except BaseException as error:  # noqa: BLE001
            answers.append([label, f"{type(error).__name__} at the call", []])
        else:
            answers.append([label, "sent", [ids] if isinstance(ids, str) else ids or []])
    return answers


# Normal tasks

NORMAL: dict[str, Callable[[str, random.Random], object]] = {
    "plain": lambda label, _: async_task(NOTE, label),
    "cached": lambda label, _: async_task(NOTE, label, cached=True),
    "chain": lambda label, _: async_chain([(NOTE, (label + end,)) for end in ("", "-2", "-3")]) and None,
    "coroutine": lambda label, _: async_task(jobs.normal_coroutine, label),
    "group": lambda label, chance: async_task(NOTE, label, group=f"group {chance.randrange(5)}"),
    "hook": lambda label, _: async_task(NOTE, label, hook=jobs.normal_hook, task_name=label),
    "iter": lambda label, _: async_iter(NOTE, [(label,), (f"{label}-2",), (f"{label}-3",)]),
    "schedule": lambda label, _: schedule(NOTE, label) and None,
    "timeout": lambda label, _: async_task(NOTE, label, timeout=30),
}
"""Name → how a normal task is sent."""

LABELS_PER_KIND = {"chain": ("", "-2", "-3"), "iter": ("", "-2", "-3")}
"""Name → suffixes of the labels that a normal task notes."""
