"""HTTP server for tests, with the answers of version 3 of IronMQ's API.

Usage: `python ironmq_stand_in.py PORT DATA SHORTEST`.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

PREFIX = "/3/projects/p/queues/"
LARGEST = 256 * 1024
"""Maximum size of a message in bytes."""
Answer = tuple[int, dict[str, Any]]


class Refused(Exception):
    """Answer that is no success."""


class Message:
    """A message that waits, is delayed or is reserved."""

    def __init__(self, number: str, body: str, due: float) -> None:
        self.id, self.body, self.due = number, body, due
        self.reservation: str | None = None
        self.count = 0


class Store:
    """All queues."""

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self.changed = threading.Condition()
        self.numbers = itertools.count(1)
        self.queues: dict[str, list[Message]] = {}

    def queue(self, name: str) -> list[Message]:
        """Return the messages of a queue. Those whose reservation has ended move to its front."""
        if name not in self.queues:
            raise Refused(404, "Queue not found")
        queue, now = self.queues[name], time.time()
        over = [message for message in queue if message.reservation and message.due <= now]
        for message in over:
            message.reservation = None
            queue.remove(message)
        queue[:0] = over
        return queue

    def waiting(self, name: str) -> list[Message]:
        """Return the messages of a queue that may be reserved."""
        now = time.time()
        return [message for message in self.queue(name) if not message.reservation and message.due <= now]

    def post(self, name: str, asked: dict[str, Any]) -> Answer:
        """Add messages. A queue that does not exist is created."""
        if any(len(given["body"].encode()) > LARGEST for given in asked["messages"]):
            raise Refused(413, f"A message has more than {LARGEST} bytes")
        queue, ids = self.queues.setdefault(name, []), []
        for given in asked["messages"]:
            delay = within(given.get("delay", 0), 0, 604_800)
            ids.append(str(next(self.numbers)))
            queue.append(Message(ids[-1], given["body"], time.time() + delay if delay else 0))
        return 201, {"ids": ids, "msg": "Messages put on queue."}

    def reserve(self, name: str, asked: dict[str, Any]) -> Answer:
        """Reserve messages. Wait for the first one."""
        count = within(asked.get("n", 1), 1, 100)
        timeout = within(asked.get("timeout", 60), self.shortest, 86_400)
        deadline = time.monotonic() + within(asked.get("wait", 0), 0, 30)
        while not (found := self.waiting(name)[:count]) and (left := deadline - time.monotonic()) > 0:
            self.changed.wait(min(left, 0.05))
        for message in found:
            self.lease(message, timeout)
            message.count += 1
        return 200, {"messages": [shown(message) | {"reservation_id": message.reservation} for message in found]}

    def lease(self, message: Message, timeout: float) -> None:
        """Give a message a new reservation id."""
        message.reservation, message.due = f"r{next(self.numbers)}", time.time() + timeout

    def message(self, name: str, number: str) -> Message:
        """Return one message."""
        for message in self.queue(name):
            if message.id == number:
                return message
        raise Refused(404, "Message not found")

    def reserved(self, name: str, number: str, asked: dict[str, Any]) -> Message:
        """Return the message that has this reservation id."""
        message = self.message(name, number)
        if message.reservation != asked.get("reservation_id"):
            raise Refused(403, "Message is reserved under another id, or its reservation timed out")
        return message

    def delete(self, name: str, number: str, asked: dict[str, Any]) -> Answer:
        """Delete one message."""
        self.queue(name).remove(self.reserved(name, number, asked))
        return 200, {"msg": "Deleted"}

    def delete_many(self, name: str, asked: dict[str, Any]) -> Answer:
        """Delete messages by id, all or none of them. Without ids, delete all of the queue."""
        if "ids" not in asked:
            self.queue(name).clear()
            return 200, {"msg": "Cleared"}
        within(len(asked["ids"]), 1, 100)
        for message in [self.reserved(name, each["id"], each) for each in asked["ids"]]:
            self.queue(name).remove(message)
        return 200, {"msg": "Deleted"}

    def touch(self, name: str, number: str, asked: dict[str, Any]) -> Answer:
        """Begin a reservation again, under a new id."""
        message = self.reserved(name, number, {"reservation_id": asked["reservation_id"]})
        self.lease(message, within(asked.get("timeout", 60), self.shortest, 86_400))
        return 200, {"reservation_id": message.reservation, "msg": "Touched"}

    def release(self, name: str, number: str, asked: dict[str, Any]) -> Answer:
        """End a reservation. The message moves to the front."""
        message = self.reserved(name, number, {"reservation_id": asked["reservation_id"]})
        delay = within(asked.get("delay", 0), 0, 604_800)
        message.reservation, message.due = None, time.time() + delay if delay else 0
        queue = self.queue(name)
        queue.remove(message)
        queue.insert(0, message)
        return 200, {"msg": "Released"}

    def info(self, name: str) -> dict[str, Any]:
        """Return the description of a queue."""
        return {
            "project_id": "p",
            "name": name,
            "size": len(self.waiting(name)),
            "total_messages": len(self.queue(name)),
            "message_timeout": 60,
            "message_expiration": 604_800,
            "type": "pull",
        }

    def answer(self, method: str, path: str, query: str, asked: dict[str, Any]) -> Answer:
        """Execute a request."""
        name, *rest = map(unquote, path.removeprefix(PREFIX).split("/"))
        match method, rest:
            case "POST", ["messages"]:
                return self.post(name, asked)
            case "POST", ["reservations"]:
                return self.reserve(name, asked)
            case "DELETE", ["messages", number]:
                return self.delete(name, number, asked)
            case "DELETE", ["messages"]:
                return self.delete_many(name, asked)
            case "POST", ["messages", number, "touch"]:
                return self.touch(name, number, asked)
            case "POST", ["messages", number, "release"]:
                return self.release(name, number, asked)
            case "GET", ["messages"]:
                count = re.search(r"n=(\d+)", query)
                return 200, {"messages": [shown(each) for each in self.waiting(name)[: int(count[1]) if count else 1]]}
            case "GET", ["messages", number]:
                return 200, {"message": shown(self.message(name, number))}
            case "GET", []:
                return 200, {"queue": self.info(name)}
            case "DELETE", []:
                self.queue(name)
                del self.queues[name]
                return 200, {"msg": "Deleted"}
            case "PUT", []:
                self.queues.setdefault(name, [])
                return 200, {"queue": self.info(name)}
        raise Refused(404, "Not found")


def shown(message: Message) -> dict[str, Any]:
    """Return a message in the form of the API."""
    return {"id": message.id, "body": message.body, "reserved_count": message.count}


def within(value: int, least: int, most: int) -> int:
    """Return a number within limits; refuse any other."""
    if not isinstance(value, int) or not least <= value <= most:
        raise Refused(400, f"{value} is not a whole number from {least} to {most}")
    return value


class Handler(BaseHTTPRequestHandler):
    """Handler of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: Store

    def handle_any(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _mark, query = self.path.partition("?")
        try:
            if self.headers.get("Authorization") != "OAuth t":
                raise Refused(401, "Not authorized")
            with self.store.changed:
                status, answer = self.store.answer(self.command, path, query, json.loads(body or b"{}"))
                self.store.changed.notify_all()
        except Refused as refusal:
            status, answer = refusal.args[0], {"msg": refusal.args[1]}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_DELETE = do_GET = do_POST = do_PUT = handle_any  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """Server with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64


def main(port: str, data: str, shortest: str) -> None:
    """Serve until SIGTERM, then save the data."""
    store, file = Store(int(shortest)), Path(data)
    if file.exists():
        first, store.queues = pickle.loads(file.read_bytes())
        store.numbers = itertools.count(first)
    Handler.store = store

    def end(*_signal: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server = Server(("127.0.0.1", int(port)), Handler)
    server.serve_forever(0.05)
    with store.changed:
        file.write_bytes(pickle.dumps((next(store.numbers), store.queues)))


if __name__ == "__main__":
    main(*sys.argv[1:])
