"""Write the reference pages that are made from the code: `hatch run reference`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from argparse import SUPPRESS, _SubParsersAction
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

import django
from django.conf import settings
from django.core.management import load_command_class
from django.core.management.base import DjangoHelpFormatter
from django.utils.module_loading import import_string
from django_q.brokers.base import EXACT_PRIORITIES, Broker

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

FOLDER: Final = Path(__file__).parent

ORIGINS: Final = {"Ours.": "new", "From django-q2.": "django-q2", "From django-q, undocumented.": "django-q"}
"""Last sentence of a setting's docstring, and what the page says about it."""

COMMANDS: Final = (
    "qcluster", "qmonitor", "qinfo", "qmemory", "qtasks", "qhealth", "qschedule", "qdead", "qimport",
)  # fmt: skip
"""Commands in the order in which a new user needs them."""


MODELS: Final = ("Task", "Success", "Failure", "Schedule", "Record")
"""Models that projects read."""

BROKER_PAGE: Final = "how-to/choose-a-broker.md"

BROKERS: Final = {
    "Database": "django_q_orm.broker.ORM",
    "Redis": "django_q_redis.broker.Redis",
    "MongoDB": "django_q_mongo.broker.Mongo",
    "Amazon SQS": "django_q_sqs.broker.Sqs",
    "IronMQ": "django_q_ironmq.broker.IronMQBroker",
    "Disque": "django_q_disque.broker.Disque",
}
"""Brokers in the order of the table."""


def settings_page() -> str:
    """Return the page of all settings."""
    module = import_module("django_q.settings.fields")
    keys = {field: key for key, field in module.FIELDS_BY_KEY.items()}
    lines = [
        "# Settings",
        "",
        "For everyone who configures a project: all keys of `Q_CLUSTER`. Each has a default, so that an empty",
        "dictionary is valid. `None` always means the default. `manage.py check` reports [mistakes](checks.md).",
        "",
        "*Origin* is the first edition with the key. Keys of django-q exist in django-q2, too.",
    ]
    for heading, fields in sections(module):
        lines += ["", f"## {heading}"]
        for name in fields:
            if name in keys:
                lines += ["", f"### `{keys[name]}`", "", *setting_text(attribute_docstrings(module)[name])]
    return "\n".join([*lines, ""])


def sections(module: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """Yield each comment in the class of settings that is a heading, with the fields below it."""
    heading, fields = "", list[str]()
    for line in inspect.getsource(module.ClusterSettings).splitlines():
        if found := re.fullmatch(r"    # (.+)", line):
            if fields:
                yield heading, fields
            heading, fields = found[1], []
        elif found := re.match(r"    (\w+): ", line):
            fields.append(found[1])
    yield heading, fields


def setting_text(text: str) -> list[str]:
    """Return the lines of a setting: its docstring, whose last paragraph has the type, the default and the origin."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    *meaning, facts = text.split("\n\n")
    origin = next((name for name in ORIGINS if facts.endswith(name)), None)
    if origin is None:
        facts = re.sub(r"\s*(Manual [\d.]+\d\.|Undocumented in the public editions\.)$", "", facts)
    else:
        facts = facts.removesuffix(origin).strip()
    lines = [line for paragraph in meaning for line in (*wrapped(paragraph), "")]
    return [*lines, *wrapped(f"{facts} *Origin: {ORIGINS.get(origin or '', 'django-q')}.*")]


def errors_page() -> str:
    """Return the page of the exceptions, each below its base class."""
    module = import_module("django_q.exceptions")
    docs = attribute_docstrings(module)
    lines = [
        "# Errors",
        "",
        "For developers who handle exceptions of Django Q, all importable from `django_q.exceptions`. Most descend",
        "from `DjangoQError`. Their cause is in `__cause__`.",
        "",
        "| error | is a | meaning |",
        "| --- | --- | --- |",
    ]
    for name, kind in vars(module).items():
        if inspect.isclass(kind) and kind.__module__ == module.__name__:
            bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
            attributes = [f"`{each}`: {' '.join(docs[each].split())}" for each in vars(kind) if each in docs]
            meaning = " ".join([(kind.__doc__ or "").strip().split("\n")[0], *attributes])
            lines.append(f"| `{name}` | {bases} | {meaning} |")
    return "\n".join([*lines, ""])


def signals_page() -> str:
    """Return the page of the signals."""
    module = import_module("django_q.signals")
    lines = [
        "# Signals",
        "",
        "For developers who connect receivers. The signals are in `django_q.signals`; the sender of each is the text",
        '`"django_q"`. An exception of a receiver is logged, and affects neither the task nor other receivers.',
        "",
        "| signal | meaning |",
        "| --- | --- |",
    ]
    for name, text in attribute_docstrings(module).items():
        if isinstance(getattr(module, name, None), django.dispatch.Signal):
            lines.append(f"| `{name}` | {' '.join(text.split())} |")
    return "\n".join([*lines, ""])


def models_page() -> str:
    """Return the page of the models that projects read."""
    lines = [
        "# Models",
        "",
        "For developers who query tasks, schedules and records: the models in `django_q.models`, with their fields.",
        "The [admin](../how-to/admin.md) shows the same rows.",
    ]
    module = import_module("django_q.models")
    for name in MODELS:
        model = getattr(module, name)
        docs = attribute_docstrings(import_module(model.__module__))
        lines += ["", f"## `{name}`", "", *wrapped((model.__doc__ or "").split("\n\n")[0])]
        if model._meta.proxy:
            continue
        lines += ["", "| field | type | meaning |", "| --- | --- | --- |"]
        for field in model._meta.concrete_fields:
            kind = field.get_internal_type() if type(field).__module__.startswith("django.") else type(field).__name__
            meaning = docs.get(field.name) or str(field.help_text) or str(field.verbose_name).capitalize() + "."
            lines.append(f"| `{field.name}` | {kind} | {' '.join(meaning.split())} |")
    return "\n".join([*lines, ""])


def contract_page() -> str:
    """Return the page of the broker contract."""
    module = import_module("django_q.brokers.base")
    docs, broker = attribute_docstrings(module), module.Broker
    lines = [
        "# Broker",
        "",
        "For plugin authors: attributes and methods of `django_q.brokers.Broker`.",
        "[Write a broker](../how-to/write-a-broker.md) shows which of them a product needs. The docstrings have",
        "arguments, return values and errors.",
        "",
        "| attribute | default | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | `{value!r}` | {' '.join(docs[name].split())} |"
        for name, value in vars(broker).items()
        if name in docs and not name.startswith("_")
    ]
    lines += ["", "| method | meaning |", "| --- | --- |"]
    for name, value in vars(broker).items():
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function) and not name.startswith("_"):
            lines.append(f"| `{name}{call_of(function)}` | {first_line(function)} |")
    return "\n".join([*lines, ""])


def testing_page() -> str:
    """Return the page of the test helpers."""
    module = import_module("django_q.testing")
    lines = [
        "# Testing",
        "",
        "For developers who test a project or a plugin: the names in `django_q.testing`. [Test your",
        "code](../how-to/test-your-code.md) shows them in use, with the fixtures of pytest.",
        "",
        "| name | meaning |",
        "| --- | --- |",
    ]
    for name in module.__all__:
        value = getattr(module, name)
        call = "" if inspect.isclass(value) else call_of(value)
        lines.append(f"| `{name}{call}` | {first_line(value)} |")
    return "\n".join([*lines, ""])


def call_of(function: Callable[..., object]) -> str:
    """Return the names and defaults of a function's parameters, without types."""
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name not in ("self", "cls")]
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return str(inspect.Signature(plain))


def first_line(documented: object) -> str:
    """Return the first sentence of a docstring, as a cell of a table."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split()).replace("|", "\\|")


def commands_page() -> str:
    """Return the page of the commands with their own options."""
    lines = [
        "# Commands",
        "",
        "For operators: the commands of `manage.py` that Django Q adds, with their own options. Django's options, such",
        "as `--settings`, work, too.",
    ]
    for name in COMMANDS:
        command = load_command_class("django_q", name)
        parser = command.create_parser("manage.py", name)
        lines += ["", f"## `{name}`", "", *wrapped(command.help), "", "| option | meaning |", "| --- | --- |"]
        lines += [f"| {option} | {meaning} |" for option, meaning in options_of(parser, name)]
    return "\n".join([*lines, ""])


def options_of(parser: ArgumentParser, command: str) -> Iterator[tuple[str, str]]:
    """Yield each option of a command with its meaning, and each of its subcommands with those of its own."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for choice in action._choices_actions:
                yield f"`{choice.dest}`", help_text(choice, command)
                for option, meaning in options_of(action.choices[choice.dest], command):
                    yield f"`{choice.dest}` {option}", meaning
        elif action.help != SUPPRESS and not is_of_django(action):
            yield option_text(action), help_text(action, command)


def broker_page() -> str:
    """Return the page about the choice of a broker, with its table of guarantees."""
    text = (FOLDER / BROKER_PAGE).read_text(encoding="utf-8")
    begin, _, rest = text.partition("-->\n")
    return f"{begin}-->\n{guarantees()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


MEASURES = {
    "Settled tasks a second": {
        "Database": "PostgreSQL as broker: settled tasks a second",
        "Redis": "Redis, results in PostgreSQL: settled tasks a second",
    },
    "Latency of an idle cluster": {
        "Database": "PostgreSQL as broker, idle cluster: latency, p50",
        "Redis": "Redis, idle cluster: latency, p50",
    },
}
"""By row and broker: the measure in the table of the page on performance."""


def guarantees() -> str:
    """Return a table of the capabilities that the brokers declare, and of their measured speed."""
    brokers = {title: import_string(path) for title, path in BROKERS.items()}
    rows: dict[str, Callable[[type[Broker]], str]] = {
        "Priorities": lambda each: "exact" if each.priorities == EXACT_PRIORITIES else f"{each.priorities} bands",
        "Longest delay": lambda each: duration(each.supports_delay),
        "Leases are renewed": lambda each: yes_or_no(each.supports_renewal),
        "Unstarted tasks are released": lambda each: yes_or_no(each.supports_prefetch),
        "Dead letters are kept by the product": lambda each: yes_or_no(each.supports_dead_letters),
        "Leased tasks can be counted": lambda each: yes_or_no(each.supports_lock_size),
        "Part of the sender's transaction": lambda each: yes_or_no(isinstance(vars(each).get("alias"), property)),
    }
    lines = [f"| | {' | '.join(brokers)} |", f"| --- |{' --- |' * len(brokers)}"]
    lines += [f"| {title} | {' | '.join(map(cell, brokers.values()))} |" for title, cell in rows.items()]
    lines += [f"| {title} | {' | '.join(speeds(measured, brokers))} |" for title, measured in MEASURES.items()]
    return "\n".join(lines)


def speeds(measured: dict[str, str], brokers: Iterable[str]) -> Iterator[str]:
    """Yield our figure of each broker from the page on performance."""
    page = (FOLDER / "explanation" / "performance.md").read_text(encoding="utf-8")
    for broker in brokers:
        row = rf"\| {re.escape(measured[broker])} \| ([^|]+) \|" if broker in measured else ""
        yield re.search(row, page)[1] if row else "not measured"


def yes_or_no(value: object) -> str:
    """Return a word for a truth value."""
    return "yes" if value else "no"


def duration(seconds: float) -> str:
    """Return a duration in its largest unit; a delay that is too long for it becomes a schedule."""
    units = {"years": 365 * 86_400, "days": 86_400, "minutes": 60}
    unit, length = next(((unit, length) for unit, length in units.items() if seconds >= length), ("seconds", 1))
    return f"{seconds / length:.0f} {unit}"


def is_of_django(action: Action) -> bool:
    """Return True if all commands of Django have an option."""
    return action.dest == "help" or f"--{action.dest.replace('_', '-')}" in DjangoHelpFormatter.show_last


def option_text(action: Action) -> str:
    """Return an option as it is written on the command line."""
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    written = [f"`{option} {value}`".replace(" `", "`") for option in action.option_strings]
    return ", ".join(written) or f"`{value}`"


def help_text(action: Action, command: str) -> str:
    """Return the help of an option as a cell of a table."""
    text = (action.help or "") % {**vars(action), "prog": f"manage.py {command}"}
    return " ".join(text.split()).replace("|", "\\|")


def attribute_docstrings(module: ModuleType) -> dict[str, str]:
    """Return the docstrings of all assignments of a module and its classes, by name."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Module | ast.ClassDef) or not isinstance(body, list):
            continue
        for statement, after in pairwise(body):
            target = getattr(statement, "target", None) or next(iter(getattr(statement, "targets", ())), None)
            if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[target.id] = inspect.cleandoc(str(after.value.value))
    return found


def wrapped(text: str) -> list[str]:
    """Return the lines of a paragraph."""
    return wrap(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


PAGES: Final[dict[str, Callable[[], str]]] = {
    BROKER_PAGE: broker_page,
    "reference/brokers.md": contract_page,
    "reference/commands.md": commands_page,
    "reference/errors.md": errors_page,
    "reference/models.md": models_page,
    "reference/settings.md": settings_page,
    "reference/signals.md": signals_page,
    "reference/testing.md": testing_page,
}
"""Functions that return the content of each page."""


if __name__ == "__main__":
    settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django_q", "django_q_orm"])
    django.setup()
    for path, content in PAGES.items():
        (FOLDER / path).write_text(content(), encoding="utf-8")
    sys.stdout.write(f"{len(PAGES)} pages\n")
