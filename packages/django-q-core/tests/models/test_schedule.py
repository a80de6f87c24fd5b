from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_q.models import Schedule, Task, validate_cron, validate_kwarg


def test_types_have_the_codes_of_the_manual() -> None:
    assert [code for code, _ in Schedule.TYPE] == ["O", "I", "H", "D", "W", "BW", "M", "BM", "Q", "Y", "C"]


def test_text_of_a_schedule_is_its_function() -> None:
    assert str(Schedule(func="math.floor")) == "math.floor"


def test_defaults_are_once_now_and_unlimited() -> None:
    schedule = Schedule(func="math.floor")
    assert (schedule.schedule_type, schedule.repeats) == (Schedule.ONCE, -1)
    assert abs((schedule.next_run - timezone.now()).total_seconds()) < 5


@pytest.mark.parametrize("value", ["x y", "1x", "class", "", "x-y"])
def test_invalid_keyword_is_rejected(value: str) -> None:
    with pytest.raises(ValidationError):
        validate_kwarg(value)


def test_keyword_is_accepted() -> None:
    validate_kwarg("intended_date")


def test_cron_is_validated() -> None:
    validate_cron("0 22 * * 1-5")
    with pytest.raises(ValidationError):
        validate_cron("0 22 * *")


@pytest.mark.django_db
class TestFullClean:
    @pytest.mark.parametrize(("kind", "field"), [(Schedule.CRON, "cron"), (Schedule.MINUTES, "minutes")])
    def test_type_without_its_field_is_rejected(self, kind: str, field: str) -> None:
        with pytest.raises(ValidationError) as caught:
            Schedule(func="math.floor", schedule_type=kind).full_clean()
        assert list(caught.value.message_dict) == [field]

    def test_impossible_cluster_name_is_rejected(self) -> None:
        with pytest.raises(ValidationError, match="dead-letter queues"):
            Schedule(func="math.floor", cluster="mail-dead").full_clean()

    def test_complete_schedule_is_accepted(self) -> None:
        Schedule(func="math.floor", schedule_type=Schedule.CRON, cron="0 22 * * 1-5").full_clean()
        Schedule(func="math.floor", schedule_type=Schedule.MINUTES, minutes=5).full_clean()


@pytest.mark.django_db
class TestLastTask:
    def schedule(self, *, success: bool) -> Schedule:
        now = timezone.now()
        Task.objects.create(id="f" * 32, name="<b>", func="f", started=now, stopped=now, success=success)
        return Schedule(func="f", task="f" * 32)

    @pytest.mark.parametrize("success", [True, False])
    def test_success_is_that_of_the_last_task(self, success: bool) -> None:
        assert self.schedule(success=success).success() is success

    @pytest.mark.parametrize(("success", "page"), [(True, "success"), (False, "failure")])
    def test_last_run_links_to_the_last_task(self, success: bool, page: str) -> None:
        link = self.schedule(success=success).last_run()
        assert link == f'<a href="/admin/django_q/{page}/{"f" * 32}/change/">[&lt;b&gt;]</a>'

    @pytest.mark.urls("django.contrib.auth.urls")
    def test_last_run_is_a_name_on_a_site_without_admin(self) -> None:
        assert self.schedule(success=True).last_run() == "[&lt;b&gt;]"

    @pytest.mark.parametrize("task", [None, "e" * 32], ids=["never run", "task deleted"])
    def test_schedule_without_task_has_no_last_run(self, task: str | None) -> None:
        schedule = Schedule(func="f", task=task)
        assert (schedule.success(), schedule.last_run()) == (None, None)
