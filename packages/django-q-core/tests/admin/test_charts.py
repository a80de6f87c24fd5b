"""Charts of the last hour and day on the admin's page of clusters."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation
from django_q.admin import activity as module
from django_q.admin import charts
from django_q.admin.activity import SPANS, activity_of
from django_q.models import Activity

pytestmark = pytest.mark.django_db

PAGE = "admin:django_q_cluster_changelist"
NOON = int(datetime(2025, 6, 2, 12, 0, tzinfo=UTC).timestamp()) // 60
"""A minute in which a quarter of an hour begins."""
DAY = 24 * 60
PATH = re.compile(r"(M\d+ 100v-\d+h3v\d+z)*")


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Simulated time of the page: the last second of a minute."""
    clock = SimpleNamespace(minute=NOON)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.minute * 60 + 59.9))
    return clock


def row(minute: int, successes: int = 0, failures: int = 0, waits: int = 0, seconds: float = 0, cluster: str = "a"):
    """Return the activity of a minute after noon."""
    return Activity(
        minute=NOON + minute,
        cluster_id=cluster,
        successes=successes,
        failures=failures,
        waits=waits,
        wait_seconds=seconds,
    )


def full_day(clusters: int = 1) -> None:
    """Insert the activity of each minute of a day."""
    rows = [row(-age, 40, age % 7, 30, age % 11, str(each)) for age in range(DAY) for each in range(clusters)]
    Activity.objects.bulk_create(rows, batch_size=500)


def shown() -> dict:
    """Return the charts of the page, by the end of the class and the title of the span."""
    found = {}
    for span in charts.chart_values()["spans"]:
        found |= {(chart.kind, span.title): chart for chart in span.charts}
    return found


def pictures(page: str) -> list[ET.Element]:
    """Return the pictures of a page."""
    return [ET.fromstring(each) for each in re.findall('<svg class="django-q.*?</svg>', page, re.DOTALL)]


def test_page_says_that_no_task_has_ended(admin_client) -> None:
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "No task has ended in the last 24 hours." in page
    assert not pictures(page)


def test_activity_of_earlier_days_is_not_shown(admin_client) -> None:
    row(-DAY, successes=1).save()
    assert "No task has ended" in admin_client.get(reverse(PAGE)).content.decode()


def test_one_minute_is_one_bar_of_each_span(admin_client) -> None:
    row(0, successes=6, failures=2, waits=4, seconds=1.0).save()
    found = pictures(admin_client.get(reverse(PAGE)).content.decode())
    assert [each.get("class") for each in found] == ["django-q-throughput", "django-q-failures", "django-q-waits"] * 2
    assert [each.find("path").get("d") for each in found] == ["M236 100v-100h3v100z"] * 3 + ["M380 100v-100h3v100z"] * 3
    assert [each.get("viewBox") for each in found] == ["0 0 240 100"] * 3 + ["0 0 384 100"] * 3


def test_numbers_are_the_text_of_each_picture(admin_client) -> None:
    row(0, successes=6, failures=2, waits=4, seconds=1.0).save()
    found = pictures(admin_client.get(reverse(PAGE)).content.decode())
    assert {each.get("role") for each in found} == {"img"}
    times = "Last hour, 11:01 a.m. \u2013 noon: "
    assert [each.get("aria-label").replace("\xa0", " ") for each in found[:3]] == [
        f"{times}Throughput: 0.13 per minute. Attempts: 8. Highest bar: 8 per minute.",
        f"{times}Failure rate: 25%. Failures: 2. Highest bar: 25%.",
        f"{times}Waiting time: 250 ms. First attempts: 4. Highest bar: 250 ms.",
    ]


def test_numbers_of_clusters_are_added() -> None:
    Activity.objects.bulk_create([row(-5, 3, 1, 2, 4.0), row(-5, 5, 1, 2, 8.0, "b"), row(-4, 10, 0, 1, 1.0, "b")])
    found = shown()
    assert found["throughput", "Last hour"].count == "Attempts: 20"
    assert found["failures", "Last hour"].figure == "10%"
    assert found["failures", "Last hour"].highest == "Highest bar: 20%"
    assert found["waits", "Last hour"].figure == "2.6 s"
    assert found["waits", "Last hour"].highest == "Highest bar: 3 s"


def test_heights_are_shares_of_the_highest_bar() -> None:
    Activity.objects.bulk_create([row(-2, successes=1), row(-1, successes=50), row(0, successes=1000)])
    assert shown()["throughput", "Last hour"].heights[-4:] == [0, 1, 5, 100]


@pytest.mark.parametrize(("age", "is_shown"), [(59, True), (60, False)])
def test_hour_has_sixty_minutes(age: int, is_shown: bool) -> None:
    row(-age, successes=1).save()
    assert any(shown()["throughput", "Last hour"].heights) is is_shown


@pytest.mark.parametrize("minute", range(15))
def test_day_has_whole_quarters_of_an_hour(clock, minute: int) -> None:
    clock.minute = NOON + minute
    Activity.objects.bulk_create([row(minute, 1), row(0, 1, cluster="b"), row(-1, 1), row(-15, 1, cluster="b")])
    assert shown()["throughput", "Last day"].count == "Attempts: 4"
    present, day = clock.minute, SPANS[1]
    bars = day.sums(activity_of(day.first_minute(present), present), present)
    assert [bar.attempts for bar in bars[-3:]] == [0, 2, 2]
    assert [bar.minutes for bar in bars[-3:]] == [15, 15, minute + 1]
    assert day.first_minute(present) == NOON - 95 * 15


def test_minute_of_a_fast_clock_is_shown_when_it_comes(clock) -> None:
    Activity.objects.bulk_create([row(0, successes=1), row(1, successes=5, cluster="b")])
    assert shown()["throughput", "Last hour"].count == "Attempts: 1"
    clock.minute += 1
    assert shown()["throughput", "Last hour"].count == "Attempts: 6"


def test_span_without_attempts_has_no_averages() -> None:
    row(-120, successes=1).save()
    found = shown()
    assert found["throughput", "Last hour"].figure == "0 per minute"
    assert (found["failures", "Last hour"].figure, found["waits", "Last hour"].figure) == ("-", "-")
    assert found["failures", "Last hour"].path == ""


@pytest.mark.parametrize("number", [1e300, -1.0, -1e300, 1e-300])
def test_hostile_numbers_do_not_break_the_page(admin_client, number: float) -> None:
    Activity.objects.bulk_create(
        [row(-age, 2**31 - 1, -5, 1, number, f'<b>"{age}') for age in range(3)]
        + [row(0, -(2**31), 2**31 - 1, -1, number, "&")]
    )
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "<b>" not in page.partition('id="django-q-live"')[2]
    found = pictures(page)
    assert len(found) == 6
    for each in found:
        assert PATH.fullmatch(each.find("path").get("d"))
        assert not re.search(r"\b(inf|nan)\b", each.get("aria-label"))


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), None, 2.0**54, -1])
def test_number_that_no_cluster_writes_is_zero(number) -> None:
    assert module.valid(number) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "0.40 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (1.44, "1.4 s"),
        (59.4, "59 s"),
        (3_725, "1:02:05"),
    ],
)
def test_duration_has_a_unit(seconds: float, text: str) -> None:
    assert charts.duration(seconds) == text


def test_texts_have_the_format_of_the_language(admin_client) -> None:
    row(0, successes=6, failures=2, waits=4, seconds=10.0).save()
    page = admin_client.get(reverse(PAGE), headers={"Accept-Language": "de"}).content.decode()
    with translation.override("de"):
        found = shown()
    assert found["throughput", "Letzte Stunde"].figure == "0,13 pro Minute"
    assert found["waits", "Letzter Tag"].figure == "2,5 s"
    for each in pictures(page):
        assert PATH.fullmatch(each.find("path").get("d"))


@pytest.mark.parametrize(("zone", "text"), [("UTC", "noon"), ("Asia/Kathmandu", "5:45 p.m.")])
def test_times_are_local(zone: str, text: str) -> None:
    row(0, successes=1).save()
    with timezone.override(zone):
        assert charts.chart_values()["spans"][0].end == text


def test_times_are_those_of_the_project_without_zones(settings) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Kathmandu"
    assert charts.local_time(NOON) == "5:45 p.m."


def test_unavailable_table_is_a_sentence_on_the_page(admin_client, unavailable) -> None:
    with unavailable("django_q_activity"):
        page = admin_client.get(reverse(PAGE)).content.decode()
    assert page.count("The database cannot be read") == 1


def test_unavailable_database_is_mentioned_once(admin_client, unavailable) -> None:
    with unavailable("django_q_activity", "django_q_record"):
        page = admin_client.get(reverse(PAGE)).content.decode()
    assert page.count("The database cannot be read") == 1


def test_charts_need_one_query_that_reads_no_task() -> None:
    full_day()
    with CaptureQueriesContext(connection) as queries:
        charts.chart_values()
    (query,) = queries.captured_queries
    assert "django_q_activity" in query["sql"]
    assert "COUNT(" not in query["sql"].upper()
    assert "django_q_task" not in query["sql"]


def test_full_day_of_ten_clusters_is_drawn_quickly(admin_client) -> None:
    full_day(clusters=10)
    durations = []
    for _ in range(3):
        began = time.perf_counter()
        page = admin_client.get(reverse(PAGE)).content.decode()
        durations.append(time.perf_counter() - began)
    assert [len(each.find("path").get("d").split("M")) - 1 for each in pictures(page)[::3]] == [60, 96]
    assert min(durations) < 0.3
    assert len(page) < 40_000
