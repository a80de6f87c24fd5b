"""Expected values of a case when its package or row is read."""

from __future__ import annotations

import sys
from typing import Any

from tests.compat.editions import THEIRS

sys.path.append(str(THEIRS))

from cases import CASES, CHAIN, ITER, RUNS, columns, plain

__all__ = ["CASES", "CHAIN", "ITER", "RUNS", "columns", "expected", "plain"]


def expected(case: str) -> dict[str, Any]:
    """Return what a package of a case says, without what is different each time."""
    if case.startswith("chain"):
        func, args, kwargs = CHAIN[0]
        return {"func": func, "args": args, "kwargs": kwargs, "group": "a chain", "cached": True, "chain": CHAIN[1:]}
    if case.startswith("iter"):
        args = ITER[int(case.split()[1])]
        return {"func": "math.copysign", "args": args, "kwargs": {}, "iter_count": len(ITER), "cached": True}
    options = dict(CASES[case]["options"])
    name = {"name": options.pop("task_name")} if "task_name" in options else {}
    return {key: CASES[case][key] for key in ("func", "args", "kwargs")} | options | name
