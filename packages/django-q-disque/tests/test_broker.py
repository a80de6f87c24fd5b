from __future__ import annotations

import uuid

import pytest
import redis
from django_q.brokers import FAIR_FETCHES
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_disque import Disque, nodes
from redis.exceptions import ResponseError

from tests.services import Disque as Server


@pytest.fixture(scope="module")
def second():
    with Server() as server:
        yield server


@pytest.fixture
def pair(disque_server, second):
    for server in (disque_server, second):
        server.start()
    return disque_server, second


@pytest.fixture
def make(disque_server):
    disque_server.start()

    def make(*servers, name="", **q_cluster):
        addresses = [server.address for server in servers or [disque_server]]
        q_cluster = {"disque_nodes": addresses, "retry": 60, **q_cluster}
        return Disque(name or f"own-{uuid.uuid4().hex[:12]}", settings=ClusterSettings.from_mapping(q_cluster))

    return make


@pytest.fixture
def in_this_order(monkeypatch):
    """Choose the first node, and forget the nodes after a test."""
    monkeypatch.setattr(nodes.random, "sample", lambda population, _count: population)
    nodes._nodes.forget()
    yield
    nodes._nodes.forget()


def test_node_is_chosen_at_random(make, pair):
    def chosen() -> str:
        nodes._nodes.forget()
        return make(*pair).connection.current

    assert {chosen() for _ in range(40)} == {server.address for server in pair}
    nodes._nodes.forget()


@pytest.mark.usefixtures("in_this_order")
def test_another_node_is_used_if_one_is_unavailable(make, pair):
    first, second = pair
    broker = make(first, second)
    broker.ping()
    assert broker.connection.current == first.address
    first.stop()
    broker.enqueue("package")
    assert broker.connection.current == second.address
    assert [delivery.package for delivery in broker.dequeue_many(1, 1)] == [b"package"]


@pytest.mark.usefixtures("in_this_order")
def test_node_that_is_unavailable_at_first_is_skipped(make, pair):
    first, second = pair
    first.stop()
    broker = make(first, second)
    assert broker.ping()
    assert broker.queue_size() == 0


@pytest.mark.usefixtures("in_this_order")
def test_broker_without_reachable_nodes_is_unavailable(make, pair):
    for server in pair:
        server.stop()
    broker = make(*pair)
    with pytest.raises(BrokerUnavailable, match=pair[1].address):
        broker.enqueue("package")
    assert broker.ping() is False


@pytest.mark.usefixtures("in_this_order")
def test_package_that_may_have_arrived_is_not_sent_again(make, pair, monkeypatch):
    first, second = pair
    monkeypatch.setattr(nodes, "SOCKET_TIMEOUT_SECONDS", 0.3)
    broker = make(first, second)
    broker.ping()
    first.pause()
    try:
        with pytest.raises(BrokerUnavailable):
            broker.enqueue("package")
        assert broker.dequeue_many(1, 0) == []
        assert broker.connection.current == second.address
    finally:
        first.resume()
    eventually(lambda: broker.queue_size() == 1)


@pytest.mark.usefixtures("in_this_order")
def test_job_of_another_node_is_settled_there(make, pair):
    first, second = pair
    pusher = make(first)
    monitor = make(second, first, name=pusher.list_key)
    pusher.enqueue_many(["one", "two", "three", "four"])
    one, two, three, four = (delivery.ack_id for delivery in pusher.dequeue_many(4, 1))
    assert monitor.acknowledge(one)
    assert monitor.renew([two]) == []
    assert monitor.release(three)
    assert monitor.release(four, delay=60)
    assert [delivery.package for delivery in pusher.dequeue_many(4, 1)] == [b"three"]


@pytest.mark.usefixtures("in_this_order")
def test_lease_that_its_node_cannot_renew_is_not_lost(make, pair, monkeypatch):
    first, second = pair
    pusher = make(first)
    monitor = make(second, first, name=pusher.list_key)
    pusher.enqueue("package")
    [mine] = pusher.dequeue_many(1, 1)
    run = nodes.Node.run

    def too_late(node, commands, **options):
        if node.address == first.address and commands[0][0] == "WORKING":
            return [ResponseError("TOOLATE Half of job TTL already elapsed") for _ in commands]
        return run(node, commands, **options)

    monkeypatch.setattr(nodes.Node, "run", too_late)
    assert monitor.renew([mine.ack_id]) == []


@pytest.mark.usefixtures("in_this_order")
def test_size_is_that_of_all_nodes(make, pair):
    name = f"own-{uuid.uuid4().hex[:12]}"
    for server in pair:
        make(server, name=name).enqueue("package")
    assert make(*pair, name=name).queue_size() == 2


@pytest.mark.usefixtures("in_this_order")
def test_jobs_of_a_node_are_delivered_after_its_outage(make, pair):
    first, second = pair
    broker = make(first, second)
    broker.enqueue("before")
    first.stop()
    broker.enqueue("meanwhile")
    assert [found.package for found in broker.dequeue_many(2, 0)] == [b"meanwhile"]
    first.start()
    with redis.Redis(port=second.port, protocol=2) as client:
        client.execute_command("CLUSTER", "MEET", first.host, first.port)
    assert broker.connection.current == second.address
    assert [found.package for found in broker.dequeue_many(2, 5)] == [b"before"]


def test_all_pages_of_a_scan_are_deleted(make):
    broker = make()
    broker.enqueue_many([f"package {number}" for number in range(60)])
    broker.enqueue("hidden", delay=60)
    broker.dequeue_many(10, 1)
    broker.delete_queue()
    jobs = list(broker.connection.pages("JSCAN", "QUEUE", broker.list_key, "REPLY", "id"))
    assert (jobs, broker.queue_size()) == ([], 0)


def test_purge_keeps_leases(make):
    broker = make()
    broker.enqueue_many([f"package {number}" for number in range(30)])
    mine = broker.dequeue_many(1, 1)[0]
    broker.purge_queue()
    assert broker.queue_size() == 0
    assert broker.acknowledge(mine.ack_id)


def test_without_a_cache_a_failed_task_starts_again_at_attempt_1(make):
    broker = make(cache="nowhere")
    broker.enqueue("package")
    broker.release(broker.dequeue_many(1, 1)[0].ack_id, delay=1)
    assert [found.attempt for found in broker.dequeue_many(1, 5)] == [1]


def test_password_is_required():
    with Server(password="secret") as server:
        q_cluster = {"disque_nodes": [server.address], "disque_auth": "secret"}
        assert Disque("queue", settings=ClusterSettings.from_mapping(q_cluster)).enqueue("package")
        wrong = Disque("queue", settings=ClusterSettings.from_mapping({**q_cluster, "disque_auth": "wrong"}))
        assert wrong.ping() is False


def test_fast_acknowledgement_deletes_the_job(make):
    broker = make(disque_fastack=True)
    broker.enqueue("package")
    assert broker.acknowledge(broker.dequeue_many(1, 1)[0].ack_id)


def test_many_are_fetched_and_settled_in_two_round_trips(make, monkeypatch):
    broker, trips, run = make(), [], nodes.Node.run

    def counted(self, commands, **options):
        trips.append(len(commands))
        return run(self, commands, **options)

    monkeypatch.setattr(nodes.Node, "run", counted)
    broker.enqueue_many(["package"] * 5)
    assert trips == [1] * 5
    trips.clear()
    mine = [delivery.ack_id for delivery in broker.dequeue_many(5, 1)]
    assert trips == [1, 5]
    trips.clear()
    assert broker.renew(mine) == broker.acknowledge_many(mine) == []
    assert trips == [5, 5, 5, 5]


def test_lease_is_in_whole_seconds(make):
    broker = make(retry=0.2)
    broker.enqueue("package")
    job = broker.dequeue_many(1, 1)[0].ack_id.partition(":")[0]
    shown = broker.connection.run("SHOW", job)
    assert shown[shown.index(b"retry") + 1] == 1


@pytest.mark.parametrize(("sender", "cluster", "lease"), [(5, 60, 5), (60, 5, 5)])
def test_lease_is_that_of_the_sender_if_it_is_shorter(make, sender, cluster, lease):
    broker = make(retry=cluster)
    make(name=broker.list_key, retry=sender).enqueue("package")
    assert broker.lease_seconds(broker.dequeue_many(1, 1)[0].ack_id) == lease


def test_lease_of_a_job_without_redelivery_is_the_configured_one(make):
    broker = make(retry=7)
    broker.connection.run("ADDJOB", broker.list_key, "package", 500, "REPLICATE", 1, "RETRY", 0)
    assert broker.lease_seconds(broker.dequeue_many(1, 1)[0].ack_id) == 7


def test_delay_over_the_limit_of_disque_is_rejected(make):
    with pytest.raises(BrokerError, match="most"):
        make().enqueue("package", delay=365 * 86_400)


def test_spaces_and_line_ends_arrive(make):
    broker = make()
    broker.enqueue("a package\r\nwith spaces")
    assert broker.dequeue_many(1, 1)[0].package == b"a package\r\nwith spaces"


def test_queue_may_have_any_name(make):
    name = f"Größe-任务 {{a}} b:c/d \r\n {uuid.uuid4()}"
    broker, other = make(name=name), make(name=name.lower())
    broker.enqueue("package")
    assert other.dequeue_many(1, 0) == []
    assert broker.dequeue_many(1, 1)[0].package == b"package"


def test_info_contains_the_version(make):
    assert make().info().startswith("Disque 1")


def test_address_without_a_port_has_the_default_port():
    assert nodes.split("disque.example") == ("disque.example", 7711)
    assert nodes.split("[::1]:7712") == ("::1", 7712)


@pytest.mark.parametrize("slip", [["host:port"], []])
def test_mistake_in_the_settings_is_a_configuration_error(slip):
    broker = Disque("queue", settings=ClusterSettings.from_mapping({"disque_nodes": slip}))
    with pytest.raises(ConfigurationError, match="disque_nodes"):
        _ = broker.connection


def test_packages_of_priority_0_are_in_the_queue_of_the_manual(make):
    broker = make()
    for priority in (-100, -1, 0, 1, 100):
        broker.enqueue(f"{priority}", priority=priority)
    sizes = [broker.connection.run("QLEN", f"{broker.list_key}{end}") for end in ("--top", "", "--low")]
    assert sizes == [2, 1, 2]
    assert [found.package for found in broker.dequeue_many(9, 1)] == [b"1", b"100", b"0", b"-100", b"-1"]


def test_all_bands_are_fetched_with_one_command(make, monkeypatch):
    broker, commands, run = make(), [], nodes.Node.run

    def noted(self, sent, **options):
        commands.extend(command[0] for command in sent)
        return run(self, sent, **options)

    monkeypatch.setattr(nodes.Node, "run", noted)
    assert broker.dequeue_many(5, 0) == []
    assert commands == ["GETJOB"]


def test_lower_bands_take_turns(make):
    broker = make()
    broker.enqueue_many(["high"] * 4 * FAIR_FETCHES, priority=1)
    broker.enqueue_many(["low"] * 9, priority=-1)
    broker.enqueue_many(["normal"] * 9)
    found = [each.package for _ in range(4 * FAIR_FETCHES) for each in broker.dequeue_many(1, 1)]
    assert [package for package in found if package != b"high"] == [b"normal", b"low", b"normal", b"low"]


@pytest.mark.parametrize("method", ["purge_queue", "delete_queue"])
def test_delayed_jobs_of_all_bands_are_deleted(make, method):
    broker = make()
    for priority in (-1, 0, 1):
        broker.enqueue("later", delay=60, priority=priority)
    getattr(broker, method)()
    queues = [f"{broker.list_key}{end}" for end in ("--top", "", "--low")]
    assert [job for name in queues for job in broker.connection.pages("JSCAN", "QUEUE", name, "REPLY", "id")] == []


@pytest.mark.parametrize("name", ["mail--top", "mail--low"])
def test_cluster_cannot_have_the_name_of_a_band(name):
    assert "priorities" in (Disque.name_problem(name) or "")
    assert Disque.name_problem(f"{name}er") is None


def test_fair_fetch_takes_one_job_of_a_lower_band_in_one_round_trip(make, monkeypatch):
    broker, trips, run = make(), [], nodes.Node.run
    broker.enqueue_many(["high"] * 3, priority=1)
    broker.enqueue_many(["normal"] * 3)

    def counted(self, commands, **options):
        trips.append(commands[0][0])
        return run(self, commands, **options)

    monkeypatch.setattr(nodes.Node, "run", counted)
    broker._fetches = FAIR_FETCHES - 1
    assert [each.package for each in broker.dequeue_many(3, 1)] == [b"normal", b"high", b"high"]
    assert trips == ["GETJOB", "SHOW"]


@pytest.mark.usefixtures("in_this_order")
def test_jobs_of_all_bands_arrive_from_another_node(make, pair):
    first, second = pair
    for server, other in (pair, pair[::-1]):
        with redis.Redis(port=server.port, protocol=2) as client:
            client.execute_command("CLUSTER", "MEET", other.host, other.port)
    sender = make(first)
    for priority in (-1, 0, 1):
        sender.enqueue(f"{priority}", priority=priority)
    consumer = make(second, first, name=sender.list_key)
    found = []
    eventually(lambda: found.extend(each.package for each in consumer.dequeue_many(3, 1)) or len(found) == 3)
    assert sorted(found) == [b"-1", b"0", b"1"]
