"""The table of the README: responses for which MongoDB is unavailable, and those that reject a package."""

from __future__ import annotations

import re
import socketserver
import struct
import threading
from pathlib import Path
from typing import Any

import bson
import pytest
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_mongo import Mongo
from django_q_mongo.errors import UNAVAILABLE_CODES, converting_errors, meaning_of
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CursorNotFound,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    WriteConcernError,
)

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HELLO = {"ok": 1, "isWritablePrimary": True, "ismaster": True, "minWireVersion": 0, "maxWireVersion": 21}
HELLO |= {"maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}


class Connection(socketserver.StreamRequestHandler):
    """Answers in the wire protocol: greetings like a server, commands with the response of the test."""

    def handle(self) -> None:
        while head := self.rfile.read(16):
            length, request, _, kind = struct.unpack("<iiii", head)
            body = self.rfile.read(length - 16)
            if kind == OP_QUERY:
                answer = struct.pack("<iqii", 0, 0, 0, 1) + bson.encode(HELLO)
                self.send(OP_REPLY, request, answer)
                continue
            size = struct.unpack_from("<i", body, 5)[0]
            command = bson.decode(body[5 : 5 + size])
            name = next(iter(command))
            reply = HELLO if name in ("hello", "ismaster") else self.server.answers.get(name, {"ok": 1})
            self.send(OP_MSG, request, struct.pack("<ib", 0, 0) + bson.encode(reply))

    def send(self, kind: int, request: int, body: bytes) -> None:
        self.wfile.write(struct.pack("<iiii", 16 + len(body), 0, request, kind) + body)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answers: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Connection) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def broker(server):
    options = {"host": "127.0.0.1", "port": server.server_address[1], "retryWrites": False, "directConnection": True}
    server.answers = {}
    return Mongo("answered", settings=ClusterSettings.from_mapping({"mongo": options}))


def failed(code: int, *labels: str) -> dict[str, Any]:
    return {"ok": 0, "code": code, "errmsg": "no", "errorLabels": list(labels)}


def kind_of(call) -> type[BrokerError]:
    with pytest.raises(BrokerError) as caught:
        call()
    return type(caught.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, BrokerUnavailable) for code in (91, 11600, 189, 10107, 13435)),
        *((code, BrokerUnavailable) for code in (13, 18)),
        *((code, BrokerUnavailable) for code in (50, 64, 112, 262)),
        *((code, BrokerUnavailable) for code in (14031, 16500)),
        *((code, BrokerError) for code in (2, 9, 59, 73, 121)),
        (10334, PackageTooLarge),
    ],
)
def test_code_of_an_answer(server, broker, code, kind) -> None:
    server.answers["insert"] = failed(code)
    assert kind_of(lambda: broker.enqueue("package")) is kind
    server.answers["insert"] = {"ok": 1, "n": 1}
    broker.enqueue("package")


def test_label_of_an_answer(server, broker) -> None:
    server.answers["insert"] = failed(99_999, "RetryableWriteError")
    assert kind_of(lambda: broker.enqueue("package")) is BrokerUnavailable


def test_secondaries_that_do_not_confirm(server, broker) -> None:
    concern = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    server.answers["insert"] = {"ok": 1, "n": 1, "writeConcernError": concern}
    assert kind_of(lambda: broker.enqueue("package")) is BrokerUnavailable
    assert kind_of(lambda: broker.enqueue_many(["package"])) is BrokerUnavailable


@pytest.mark.parametrize(("code", "kind"), [(11602, BrokerUnavailable), (121, BrokerError)])
def test_part_of_a_batch_that_failed(server, broker, code, kind) -> None:
    server.answers["insert"] = {"ok": 1, "n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "no"}]}
    assert kind_of(lambda: broker.enqueue_many(["package"])) is kind


@pytest.mark.parametrize("code", [64, 100, 91, 99_999])
def test_batch_that_was_written_and_not_confirmed(code) -> None:
    error = BulkWriteError({"writeErrors": [], "nInserted": 3, "writeConcernErrors": [{"code": code, "errmsg": "no"}]})
    meaning = meaning_of(error)
    assert (type(meaning), meaning.sent) == (BrokerUnavailable, frozenset())


@pytest.mark.parametrize(("code", "kind"), [(10107, BrokerUnavailable), (121, BrokerError)])
def test_part_of_a_batch_that_was_inserted_is_reported(server, broker, code, kind) -> None:
    server.answers["insert"] = {"ok": 1, "n": 2, "writeErrors": [{"index": 2, "code": code, "errmsg": "no"}]}
    with pytest.raises(BrokerError) as caught:
        broker.enqueue_many(["one", "two", "three", "four"])
    assert (type(caught.value), caught.value.sent) == (kind, {0, 1})


def test_package_over_the_limit_of_a_document(broker) -> None:
    assert kind_of(lambda: broker.enqueue("x" * 17_000_000)) is PackageTooLarge


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((error, BrokerUnavailable) for error in (AutoReconnect("no"), NetworkTimeout("no"), NotPrimaryError("no"))),
        (CursorNotFound("cursor id 5 not found"), BrokerUnavailable),
        (WriteConcernError("no", 99_999), BrokerUnavailable),
        (OperationFailure("no"), BrokerError),
    ],
)
def test_error_of_the_client(error, kind) -> None:
    with pytest.raises(BrokerError) as caught, converting_errors():
        raise error
    assert type(caught.value) is kind


def test_codes_of_the_readme_are_unavailable() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    errors = " ".join(re.findall(r"^\| ([^|]+) \| unavailable", readme, re.MULTILINE))
    codes = {int(code) for code in re.findall(r"\d+", errors)}
    assert len(codes) > 10
    assert codes <= UNAVAILABLE_CODES


def test_server_that_does_not_listen() -> None:
    options = {"host": "127.0.0.1", "port": 1, "serverSelectionTimeoutMS": 100}
    broker = Mongo("nowhere", settings=ClusterSettings.from_mapping({"mongo": options}))
    assert kind_of(lambda: broker.enqueue("package")) is BrokerUnavailable
