"""The parts that a task passes through, each alone: `hatch run bench:parts`.

pytest does not collect this file by its name, so the ordinary suite neither runs it nor needs pytest-benchmark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django_q.brokers import get_broker
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.messages import Kind, pack, unpack
from django_q.execution import Executor
from django_q.models import Task
from django_q.results.database import DatabaseResults
from django_q.settings import ClusterSettings
from django_q.tasks import async_task
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import new_id
from django_q.wire.package import new_package

if TYPE_CHECKING:
    from django_q.wire.outcome import Outcome
    from django_q.wire.package import TaskPackage

SETTINGS = ClusterSettings(name="parts")
CODEC = PackageCodec.of(SETTINGS)


def nothing(index: int) -> int:
    return index


@pytest.fixture
def package() -> TaskPackage:
    return new_package(nothing, (1,))


@pytest.fixture
def outcome(package: TaskPackage) -> Outcome:
    return Executor(SETTINGS).execute(package)


def test_sign(benchmark: Any, package: TaskPackage) -> None:
    assert isinstance(benchmark(CODEC.dumps, package), str)


def test_verify(benchmark: Any, package: TaskPackage) -> None:
    assert benchmark(CODEC.loads, CODEC.dumps(package)) == package


def test_execute(benchmark: Any, package: TaskPackage) -> None:
    assert benchmark(Executor(SETTINGS).execute, package).success


def test_pack_an_outcome(benchmark: Any, outcome: Outcome) -> None:
    assert isinstance(benchmark(pack, Kind.OUTCOME, outcome), bytes)


def test_unpack_an_outcome(benchmark: Any, outcome: Outcome) -> None:
    assert benchmark(unpack, pack(Kind.OUTCOME, outcome)) == outcome


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [4, 500])
def test_save_a_batch(benchmark: Any, outcome: Outcome, size: int) -> None:
    results = DatabaseResults(SETTINGS)

    def batch() -> tuple[tuple[list[Outcome]], dict[str, Any]]:
        return ([outcome._replace(id=new_id()) for _ in range(size)],), {}

    benchmark.pedantic(results.save_many, setup=batch, rounds=200)
    assert Task.objects.count() >= min(size, SETTINGS.save_limit)


def test_enqueue_on_the_memory_broker(benchmark: Any) -> None:
    broker = get_broker()
    try:
        benchmark(async_task, nothing, 1, broker=broker)
        assert broker.queue_size()
    finally:
        broker.delete_queue()


@pytest.mark.parametrize("size", [500, 100_000])
def test_channel_round_trip(benchmark: Any, size: int) -> None:
    channel, message = Channel(), bytes(size)

    def there_and_back() -> bytes | None:
        channel.send(message)
        return channel.receive()

    try:
        assert benchmark(there_and_back) == message
    finally:
        channel.close()
