from __future__ import annotations

import threading
import time
import uuid
from collections import Counter

import pytest
from botocore.exceptions import ClientError
from django_q.brokers import FAIR_FETCHES, Delivery, banded, get_broker
from django_q.brokers.bands import Band
from django_q.checks import check_installation
from django_q.dispatch import send_many
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError, PackageTooLarge
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Task
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q.wire.package import new_package
from django_q_sqs import Sqs


@pytest.fixture(params=["ministack", "moto"])
def options(request):
    emulator = request.getfixturevalue(f"{request.param}_server")
    emulator.door.start()
    return emulator.options


@pytest.fixture
def make(options):
    made = []

    def make(name="", **q_cluster):
        settings = ClusterSettings.from_mapping({"sqs": options, "retry": 60, **q_cluster})
        made.append(Sqs(name or f"own-{uuid.uuid4().hex[:12]}", settings=settings))
        return made[-1]

    yield make
    for broker in made:
        broker.delete_queue()


@pytest.fixture
def requests(make):
    """Number of requests of each operation."""
    events, counter = make().connection.meta.events, Counter()

    def count(model, **_more):
        counter[model.name] += 1

    events.register("before-call.sqs", count)
    yield counter
    events.unregister("before-call.sqs", count)


def body(broker):
    found = eventually(lambda: broker.dequeue_many(1, 1))
    broker.acknowledge(found[0].ack_id)
    return found[0].package


def test_brokers_of_a_process_share_a_client(make):
    assert make().connection is make().connection


def test_ten_packages_are_one_request_each_way(make, requests):
    broker = make()
    broker.enqueue_many([f"package {number}" for number in range(10)])
    found = broker.dequeue_many(10, 2)
    assert len(found) == 10
    ids = [delivery.ack_id for delivery in found]
    assert broker.renew(ids) == broker.release_many(ids, delay=60) == broker.acknowledge_many(ids) == []
    assert requests["SendMessageBatch"] == requests["ReceiveMessage"] == requests["DeleteMessageBatch"] == 1
    assert requests["ChangeMessageVisibilityBatch"] == 2


@pytest.mark.parametrize(("retry", "seconds"), [(0.2, 1), (1.5, 2), (60, 60), (100_000, 43_200)])
def test_lease_is_in_whole_seconds_within_the_limit_of_sqs(make, retry, seconds):
    broker, asked = make(retry=retry), []
    events = broker.connection.meta.events
    listener = lambda params, **_more: asked.append(params["VisibilityTimeout"])  # noqa: E731
    events.register("provide-client-params.sqs.ReceiveMessage", listener)
    try:
        broker.dequeue_many(1, 0)
    finally:
        events.unregister("provide-client-params.sqs.ReceiveMessage", listener)
    assert asked == [seconds]


def test_batches_stay_below_the_limit(make, requests):
    broker = make()
    broker.enqueue_many(["x" * 300_000] * 6)
    assert requests["SendMessageBatch"] == 2
    eventually(lambda: broker.queue_size() == 6)


def test_package_over_the_limit_is_rejected_with_both_sizes(make):
    broker = make()
    with pytest.raises(PackageTooLarge, match=r"1048577 bytes.*1048576"):
        broker.enqueue("x" * 1_048_577)
    with pytest.raises(PackageTooLarge, match="1048578 bytes"):
        broker.enqueue_many(["fine", "ä" * 524_289])
    assert broker.queue_size() == 0


def test_limit_is_that_of_the_queue(make):
    broker = make()
    attributes = {"MaximumMessageSize": "2048"}
    broker.connection.create_queue(QueueName=broker.list_key, Attributes=attributes)
    with pytest.raises(PackageTooLarge, match="2048"):
        broker.enqueue("x" * 2049)


def test_delay_over_the_limit_of_sqs_is_rejected(make):
    with pytest.raises(BrokerError, match="900"):
        make().enqueue("package", delay=901)


def test_explicit_bulk_is_used(make):
    broker = make(bulk=3)
    broker.enqueue_many(["package"] * 10)
    assert len(broker.dequeue_many(10, 1)) <= 3


def test_old_method_polls_for_the_time_in_the_settings(make, options):
    broker = make(sqs=options | {"receive_message_wait_time_seconds": 2})
    started = time.monotonic()
    assert broker.dequeue() is None
    assert time.monotonic() - started >= 1.9


def test_fetch_polls_at_most_for_the_time_in_the_settings(make, options):
    broker = make(sqs=options | {"receive_message_wait_time_seconds": 0})
    broker.queue_size()
    started = time.monotonic()
    assert broker.dequeue_many(1, 5) == []
    assert time.monotonic() - started < 4


def test_purging_twice_in_a_minute_works(make):
    broker = make()
    for _ in range(2):
        broker.enqueue_many(["one", "two", "three"])
        broker.purge_queue()
        eventually(lambda: broker.queue_size() == 0)


def test_purge_ends_beside_an_active_producer(make):
    broker, producer, stop = make(), make("producer"), threading.Event()
    producer.list_key = broker.list_key

    def produce():
        while not stop.is_set():
            producer.enqueue_many(["new"] * 10)

    broker.purge_queue()
    broker.enqueue("old")
    thread = threading.Thread(target=produce)
    thread.start()
    purging = threading.Thread(target=broker.purge_queue, daemon=True)
    purging.start()
    purging.join(20)
    stop.set()
    thread.join()
    assert not purging.is_alive()


@pytest.mark.parametrize(
    ("retry", "hours", "seconds"), [(43_200, 4, 28_800), (43_200, 0, 43_200), (3600, 11.5, 1800), (3600, 4, 3600)]
)
def test_renewal_is_limited_to_the_rest_of_twelve_hours(make, monkeypatch, retry, hours, seconds):
    broker, asked = make(retry=retry), []
    mine = leased(broker)
    call = broker._call

    def spy(operation, **arguments):
        asked.extend(entry["VisibilityTimeout"] for entry in arguments["Entries"])
        return call(operation, **arguments)

    now = time.time
    monkeypatch.setattr(broker, "_call", spy)
    monkeypatch.setattr("django_q_sqs.broker.time.time", lambda: now() + hours * 3600)
    assert broker.renew([mine]) == []
    assert asked == [pytest.approx(seconds, abs=20)]
    assert asked[0] <= seconds


def test_lease_is_over_after_twelve_hours(make, monkeypatch):
    broker = make(retry=43_200)
    mine = leased(broker)
    now = time.time
    monkeypatch.setattr("django_q_sqs.broker.time.time", lambda: now() + 43_200)
    assert broker.renew([mine]) == broker.release_many([mine], delay=5) == [mine]


def leased(broker):
    broker.enqueue("package")
    return eventually(lambda: broker.dequeue_many(1, 1))[0].ack_id


def test_lease_that_cannot_be_extended_is_not_lost(make, monkeypatch):
    """AWS: 'If you try to extend the visibility timeout beyond this limit, your request is rejected.'."""
    broker = make()
    mine = leased(broker)
    message = "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
    entry = {"Id": "0", "SenderFault": True, "Code": "InvalidParameterValue", "Message": message}
    monkeypatch.setattr(broker, "_call", lambda operation, **arguments: {"Failed": [entry]})
    assert broker.renew([mine]) == []


@pytest.mark.parametrize("error", [BrokerUnavailable, BrokerError])
def test_failed_batch_reports_the_packages_that_were_sent(make, monkeypatch, error):
    broker = make()
    broker._queue_url()
    requests, call = [], broker._call

    def fail(operation, **arguments):
        requests.append(operation)
        if operation == "send_message_batch" and requests.count(operation) == 2:
            raise error("cut")
        return call(operation, **arguments)

    monkeypatch.setattr(broker, "_call", fail)
    packages = [f"package {number}" for number in range(30)]
    with pytest.raises(error, match="cut") as caught:
        broker.enqueue_many(packages)
    sent = {*range(10)} if error is BrokerUnavailable else {*range(10), *range(20, 30)}
    assert caught.value.sent == sent
    broker.enqueue_many([package for position, package in enumerate(packages) if position not in sent])
    eventually(lambda: broker.queue_size() == 30)


@pytest.mark.parametrize("fault", [False, True])
def test_failed_entry_of_ten_does_not_fail_the_others(make, monkeypatch, fault):
    broker = make()
    broker._queue_url()
    call = broker._call

    def fail(operation, **arguments):
        entries = arguments.get("Entries", ())
        if operation != "send_message_batch" or not any(entry["MessageBody"] == "bad" for entry in entries):
            return call(operation, **arguments)
        good = [entry for entry in entries if entry["MessageBody"] != "bad"]
        bad = [entry["Id"] for entry in entries if entry["MessageBody"] == "bad"]
        answer = call(operation, Entries=good) if good else {}
        failed = [{"Id": each, "SenderFault": fault, "Code": "InvalidMessageContents"} for each in bad]
        return {"Successful": answer.get("Successful", ()), "Failed": failed}

    monkeypatch.setattr(broker, "_call", fail)
    with pytest.raises(BrokerError if fault else BrokerUnavailable) as caught:
        broker.enqueue_many(["one", "bad", "two"])
    assert caught.value.sent == {0, 2}


def test_failed_request_of_many_does_not_fail_the_others(make, monkeypatch):
    broker = make()
    broker.enqueue_many(["package"] * 30)
    found = []
    eventually(lambda: found.extend(broker.dequeue_many(10, 1)) or len(found) == 30, 20)
    requests, call = [], broker._call

    def fail(operation, **arguments):
        requests.append(operation)
        if requests.count("delete_message_batch") == 1:
            raise BrokerUnavailable("throttled")
        return call(operation, **arguments)

    monkeypatch.setattr(broker, "_call", fail)
    ids = [delivery.ack_id for delivery in found]
    with pytest.raises(BrokerUnavailable):
        broker.acknowledge_many(ids)
    eventually(lambda: broker.lock_size() == 10)


def test_lost_lease_cannot_dead_letter(make, monkeypatch):
    broker = make()
    mine = Delivery(leased(broker), "package")
    monkeypatch.setattr(broker, "renew", lambda ack_ids: ack_ids)
    broker.move_to_dead_letters(mine)
    assert broker.dead_size() == 0
    assert broker.lock_size() == 1


def test_deleted_queue_is_created_again(make):
    broker = make()
    broker.enqueue("before")
    make(broker.list_key).delete_queue()
    broker.enqueue("after")
    assert body(broker) == "after"


def test_new_queue_keeps_messages_for_fourteen_days(make):
    broker = make()
    broker.enqueue("package")
    assert broker._attribute("MessageRetentionPeriod", 0) == 14 * 86_400


def test_fifo_queue_keeps_the_order(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo", bulk=1)
    broker.enqueue("one")
    broker.enqueue_many(["two", "three", "one"])
    assert [body(broker) for _ in range(4)] == ["one", "two", "three", "one"]


def test_fifo_queue_keeps_the_order_of_retries(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo")
    broker.enqueue_many(["one", "two", "three"])
    broker.release(eventually(lambda: broker.dequeue_many(1, 1))[0].ack_id)
    assert body(broker) == "one"
    two, three = eventually(lambda: broker.dequeue_many(2, 1))
    broker.release(two.ack_id)
    broker.acknowledge(three.ack_id)
    assert body(broker) == "two"


def test_fifo_queue_counts_deliveries_too(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo", retry=1, bulk=1)
    broker.enqueue("package")
    counts = []
    for again in (True, True, False):
        mine = eventually(lambda: broker.dequeue_many(1, 1))[0]
        counts.append(mine.attempt)
        if again:
            continue
        broker.release(mine.ack_id)
        counts.append(eventually(lambda: broker.dequeue_many(1, 1))[0].attempt)
    assert counts == [1, 2, 3, 3]


def test_first_deliveries_do_not_use_the_cache(make, monkeypatch):
    broker = make()
    broker.enqueue("package")
    monkeypatch.setattr(Sqs, "cache", None)
    assert eventually(lambda: broker.dequeue_many(1, 1))[0].attempt == 1


def test_without_a_cache_a_release_before_a_start_is_an_attempt(make):
    broker = make(cache="nowhere")
    broker.enqueue("package")
    broker.release(eventually(lambda: broker.dequeue_many(1, 1))[0].ack_id)
    assert eventually(lambda: broker.dequeue_many(1, 1))[0].attempt == 2


@pytest.mark.django_db
def test_row_has_the_attempts_without_a_cache(make):
    broker = make(retry=1, cache="nowhere")
    package = new_package("math.floor", ("no number",))
    send_many([package], broker=broker, settings=broker.settings)
    counts = []
    for silent in (False, False, True, False):
        [delivery] = eventually(lambda: broker.dequeue_many(1, 1))
        if not silent:
            counts.append(run(broker, delivery))
    assert counts == [1, 2, 4]


def run(broker, delivery):
    """Run a task that fails, and return the attempts of its row."""
    executor = Executor(broker.settings)
    package = executor.codec.loads(delivery.package)
    outcome = executor.execute(package, ack_id=delivery.ack_id, attempt=delivery.attempt)
    Finisher(broker.settings, broker).finish([outcome])
    return Task.objects.get(pk=package["id"]).attempt_count


def test_fifo_queue_has_a_fifo_dead_letter_queue(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo")
    broker.enqueue("unreadable")
    broker.move_to_dead_letters(eventually(lambda: broker.dequeue_many(1, 1))[0])
    assert broker.dead_key.endswith("-dead.fifo")
    eventually(lambda: broker.dead_size() == 1)
    broker.dead_letters().delete_queue()


def test_fifo_queue_cannot_delay(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo")
    assert not broker.supports_delay
    with pytest.raises(BrokerError):
        broker.enqueue("package", delay=1)


def test_ping_without_a_server_is_false(options):
    settings = ClusterSettings.from_mapping({"sqs": options | {"endpoint_url": "http://127.0.0.1:1"}})
    assert Sqs("queue", settings=settings).ping() is False


@pytest.mark.parametrize("slip", [{"aws_regoin": "x"}, {"endpoint_url": "not a url"}, {"profile_name": "nobody"}])
def test_mistake_in_the_settings_is_a_configuration_error(slip):
    settings = ClusterSettings.from_mapping({"sqs": {"aws_region": "us-east-1", **slip}})
    with pytest.raises(ConfigurationError, match="sqs"):
        _ = Sqs("queue", settings=settings).connection


def test_settings_are_not_changed(options):
    given = options | {"receive_message_wait_time_seconds": 5}
    settings = ClusterSettings.from_mapping({"sqs": given})
    for _ in range(2):
        assert Sqs("queue", settings=settings).connection.meta.region_name == "us-east-1"
    assert settings.sqs == given


def test_empty_settings_leave_everything_to_boto3(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    settings = ClusterSettings.from_mapping({"sqs": {}})
    assert Sqs("queue", settings=settings).connection.meta.region_name == "eu-west-3"


@pytest.mark.parametrize("name", ["my site", "app.queue", "n" * 76, "ü", "n.fifo.fifo", ""])
def test_name_that_sqs_does_not_allow_is_rejected(name):
    assert "75" in (Sqs.name_problem(name) or "")


def test_only_the_end_of_a_name_marks_a_dead_letter_queue(make):
    broker = make(f"a-dead-{'n' * 68}")
    broker.enqueue("unreadable")
    broker.move_to_dead_letters(broker.dequeue_many(1, 5)[0])
    assert broker.dead_size() == 1
    with pytest.raises(ConfigurationError, match="75"):
        make(f"a-dead-{'n' * 70}").enqueue("package")


@pytest.mark.parametrize("name", ["My_site-1", "n" * 75, f"{'n' * 70}.fifo"])
def test_name_that_sqs_allows(name):
    assert Sqs.name_problem(name) is None


def test_check_rejects_a_name_that_sqs_does_not_allow(settings):
    settings.Q_CLUSTER = {"name": "my site", "sqs": {"aws_region": "eu-west-3"}, "timeout": 5}
    assert [each.id for each in check_installation(None) if each.id == "django_q.E010"] == ["django_q.E010"]
    with pytest.raises(ConfigurationError, match="my site"):
        get_broker().enqueue("package")


def test_packages_of_priority_0_are_in_the_queue_of_the_manual(make):
    broker = make()
    for priority in (-100, -1, 0, 1, 100):
        broker.enqueue(f"{priority}", priority=priority)
    for band, count in (("--top", 2), ("", 1), ("--low", 2)):
        url = broker.connection.get_queue_url(QueueName=f"{broker.list_key}{band}")["QueueUrl"]
        found = broker.connection.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        assert len(found["Messages"]) == count


def test_bands_of_a_fifo_queue_are_fifo_queues(make):
    broker = make(f"own-{uuid.uuid4().hex[:12]}.fifo")
    broker.enqueue_many(["one", "two"], priority=5)
    assert broker.connection.get_queue_url(QueueName=broker.list_key.replace(".fifo", "--top.fifo"))
    assert [body(broker) for _ in range(2)] == ["one", "two"]


def test_fetch_without_bands_is_one_request(make, requests):
    broker = make()
    broker.dequeue_many(1, 0)
    requests.clear()
    for _ in range(2 * FAIR_FETCHES):
        assert broker.dequeue_many(1, 0) == []
    assert broker.queue_size() == 0
    assert requests == {"ReceiveMessage": 2 * FAIR_FETCHES, "GetQueueAttributes": 1}


def test_missing_band_is_looked_up_after_a_minute(make, requests, monkeypatch):
    broker = make()
    broker.dequeue_many(1, 0)
    assert requests["GetQueueUrl"] == 3
    now = time.monotonic()
    monkeypatch.setattr(banded.time, "monotonic", lambda: now + banded.MISSING_SECONDS - 5)
    broker.dequeue_many(1, 0)
    assert requests["GetQueueUrl"] == 3
    monkeypatch.setattr(banded.time, "monotonic", lambda: now + banded.MISSING_SECONDS + 5)
    broker.dequeue_many(1, 0)
    assert requests["GetQueueUrl"] == 5


def test_settling_is_one_request_for_each_band(make, requests):
    broker = make()
    for priority in (-1, 0, 1):
        broker.enqueue_many(["one", "two"], priority=priority)
    found = []
    eventually(lambda: found.extend(broker.dequeue_many(10, 1)) or len(found) == 6)
    requests.clear()
    ids = [delivery.ack_id for delivery in found]
    assert broker.renew(ids) == broker.acknowledge_many(ids) == []
    assert requests == {"ChangeMessageVisibilityBatch": 3, "DeleteMessageBatch": 3}


def test_band_that_was_deleted_is_missing(make):
    broker = make()
    broker.enqueue("package", priority=1)
    assert body(broker) == "package"
    make(broker.list_key).delete_queue()
    assert broker.dequeue_many(1, 0) == []
    assert broker.queue_size() == 0


def test_purge_and_deletion_find_bands_that_count_as_missing(make):
    broker = make()
    for method in ("purge_queue", "delete_queue"):
        broker.enqueue("package", priority=-1)
        broker.note_missing(Band.LOW)
        getattr(broker, method)()
        broker.note_present(Band.LOW)
        assert broker.dequeue_many(1, 0) == []


def test_key_without_permissions_for_bands_works_without_priorities(make, monkeypatch):
    broker = make()
    broker.enqueue("package")
    real = broker.connection._make_api_call

    def deny(operation, arguments):
        if arguments.get("QueueName", "").endswith(("--top", "--low")):
            error = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(error, operation)
        return real(operation, arguments)

    monkeypatch.setattr(broker.connection, "_make_api_call", deny)
    assert body(broker) == "package"
    with pytest.raises(BrokerUnavailable, match="AccessDenied"):
        broker.enqueue("package", priority=1)


@pytest.mark.parametrize("name", ["mail--top", "mail--low", "mail--low.fifo"])
def test_cluster_cannot_have_the_name_of_a_band(name):
    assert "priorities" in (Sqs.name_problem(name) or "")
