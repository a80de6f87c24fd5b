"""Settings of a live cluster: those of the tests that it runs beside, with the databases of the tests."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any, Final

VARIABLE: Final = "DJANGO_Q_LIVE_CLUSTER"
"""Environment variable with the changes, in JSON: `module`, `databases` and `q_cluster`."""


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the tests with changes.

    Args:
        changes: name of the settings module, names of the databases by alias, and keys of `Q_CLUSTER`.
    """
    module = import_module(changes["module"])
    values = {name: getattr(module, name) for name in dir(module) if name.isupper()}
    values["DATABASES"] = {
        alias: {**database, "NAME": changes["databases"].get(alias, database.get("NAME"))}
        for alias, database in values.get("DATABASES", {}).items()
    }
    values["Q_CLUSTER"] = {**values.get("Q_CLUSTER", {}), **changes["q_cluster"]}
    return values


if VARIABLE in os.environ:
    globals().update(changed(json.loads(os.environ[VARIABLE])))
