"""A site that changes `USE_TZ` while tasks, groups, iters and schedules are in progress finishes all of them."""

from __future__ import annotations

import pytest

from .site import eventually

SEND = """
    from datetime import timedelta
    from django.utils import timezone
    from django_q.models import Schedule
    from django_q.tasks import async_iter, async_task, schedule

    for number in range(3):
        async_task("jobs.mark", number, group="rows")
        async_task("jobs.mark", 10 + number, group="cached", q_options={"cached": True})
    async_task.options(delay=7200)("jobs.mark", "later")
    in_an_hour = timezone.now() + timedelta(hours=1)
    for name, kind, when in (("due", Schedule.HOURLY, timezone.now()), ("tomorrow", Schedule.DAILY, in_an_hour)):
        Schedule.objects.filter(name=name).delete()
        schedule("jobs.mark", name, name=name, schedule_type=kind, next_run=when)
    answer = [async_iter("jobs.mark", [20, 21]), in_an_hour.timestamp()]
"""

READ = """
    from django_q.brokers import get_broker
    from django_q.models import Failure, OrmQ, Schedule
    from django_q.tasks import fetch_group, result, result_group
    cached = fetch_group("cached", cached=True) or []
    answer = {{
        "rows": sorted(result_group("rows") or []),
        "cached": [task.result for task in cached],
        "quick": all(0 <= task.time_taken() < 600 for task in [*cached, *(fetch_group("rows") or [])]),
        "iter": result({iter_id!r}),
        "failures": Failure.objects.count(),
        "waiting": OrmQ.objects.count(),
        "runs": Schedule.objects.get(name="due").runs,
        "tomorrow": Schedule.objects.get(name="tomorrow").next_run.timestamp(),
    }}
"""


@pytest.mark.parametrize(("kind", "use_tz"), [("sqlite", True), ("sqlite", False), ("postgres", True)])
def test_site_may_change_use_tz(make_site, kind, use_tz):
    site = make_site(kind)

    def set_use_tz(value: bool) -> None:
        with (site.folder / "site_settings.py").open("a") as settings:
            settings.write(f"USE_TZ, TIME_ZONE = {value}, {('America/Chicago' if use_tz else 'Europe/Amsterdam')!r}\n")

    set_use_tz(use_tz)
    with site.cluster() as cluster:
        iter_id, _ = site.run(SEND)
        code = READ.format(iter_id=iter_id)
        eventually(lambda: site.run(code)["iter"] == [20, 21], within=20, why=lambda: cluster.log)
        assert cluster.stop() == 0
    iter_id, in_an_hour = site.run(SEND)
    set_use_tz(not use_tz)
    with site.cluster() as cluster:
        wanted = {
            "rows": [0, 0, 1, 1, 2, 2], "cached": [10, 11, 12] * 2, "quick": True, "iter": [20, 21], "failures": 0,
            "waiting": 2, "runs": 1, "tomorrow": in_an_hour,
        }  # fmt: skip
        found = {}

        def finished() -> bool:
            found.update(site.run(READ.format(iter_id=iter_id)))
            return found == wanted

        eventually(finished, within=20, why=lambda: (found, cluster.log))
        assert "Traceback" not in cluster.log
        assert "later" not in site.notes()
        assert cluster.stop() == 0
