"""The conformance suite of back ends, with the memory broker and the parts of a worker in this process."""

from __future__ import annotations

import pytest
from django_q.brokers import get_broker
from django_q.execution import Executor
from django_q.finishing import Finisher, is_last
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec

pytest.importorskip("django_q.django_tasks.api", reason="Django 5.2 needs django-tasks", exc_type=ImportError)

from django_q.testing import TaskBackendConformance


@pytest.mark.django_db(transaction=True)
class TestDjangoQBackend(TaskBackendConformance):
    on_demand = True
    attempts = 2

    @pytest.fixture(autouse=True)
    def configured(self, settings):
        settings.TASKS = {
            "default": {"BACKEND": "django_q.backend.DjangoQBackend", "QUEUES": ["default", "mail"]},
        }
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "ack_failures": False, "max_attempts": 2, "retry": 0.1}
        get_broker().delete_queue()
        yield
        get_broker().delete_queue()
        get_broker("mail").delete_queue()

    @pytest.fixture
    def backend(self, configured):
        from django_q.django_tasks.api import task_backends

        return task_backends["default"]

    @pytest.fixture
    def jobs(self, configured):
        from django_q.testing import task_jobs

        return task_jobs

    @pytest.fixture
    def step(self, configured):
        settings, broker = current_settings(), get_broker()

        def last(package, attempt):
            return is_last(package.get("ack_failure"), attempt, settings=settings, broker=broker)

        executor, finisher = Executor(settings, worker="worker", is_last=last), Finisher(settings, broker)

        def work() -> None:
            deliveries = []
            while found := broker.dequeue_many(1, 0):
                deliveries += found
            for delivery in deliveries:
                package = PackageCodec.of(settings).loads(delivery.package)
                finisher.finish([executor.execute(package, ack_id=delivery.ack_id, attempt=delivery.attempt)])

        return work

    @pytest.mark.parametrize("feature", ["defer", "async_task", "get_result", "priority"])
    def test_feature_is_supported(self, backend, feature):
        assert getattr(backend, f"supports_{feature}") is True
