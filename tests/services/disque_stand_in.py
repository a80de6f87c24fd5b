"""A server that speaks Redis's old protocol and gives the answers of a Disque 1.0 node: for tests.

Nodes that have met (`CLUSTER MEET`) get one another's jobs when they have none; they keep no copies for one another.

Usage: `python disque_stand_in.py PORT DATA PASSWORD`.
"""

from __future__ import annotations

import pickle
import secrets
import signal
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

PAGE = 5
"""Jobs in a page of a scan; few, so that tests get several pages."""

MEMORY = 1_000_000
"""Memory use that it reports, in bytes."""

NODE = "cd97a51c" + "0" * 32


class Refused(Exception):
    """An error reply."""


class Job:
    """Jobs that were added and not acknowledged."""

    def __init__(self, queue: bytes, body: bytes, *, retry: int, ttl: int, delay: int) -> None:
        self.id = f"D-{NODE[:8]}-{secrets.token_urlsafe(18)}-05a1".encode()
        self.queue, self.body, self.retry, self.ttl, self.delay = queue, body, retry, ttl, delay
        self.created = time.time()
        self.queued = self.offered = not delay
        self.due = self.created + delay
        self.nacks = self.additional = 0

    def shown(self) -> list[Any]:
        """Return the answer to SHOW."""
        left = max(int((self.due - time.time()) * 1000), 0) if self.retry else 0
        return [
            b"id", self.id, b"queue", self.queue, b"state", b"queued" if self.queued else b"active", b"repl", 1,
            b"ttl", int(self.created + self.ttl - time.time()), b"ctime", int(self.created * 1000) * 1_000_000,
            b"delay", self.delay, b"retry", self.retry, b"nacks", self.nacks, b"additional-deliveries", self.additional,
            b"nodes-delivered", [NODE.encode()], b"nodes-confirmed", [], b"next-requeue-within", left,
            b"next-awake-within", left, b"body", self.body,
        ]  # fmt: skip


class Node:
    """All jobs of a node."""

    def __init__(self, port: int, password: str) -> None:
        self.port, self.password = port, password
        self.changed = threading.Condition()
        self.jobs: dict[bytes, Job] = {}
        self.paused: dict[bytes, bytes] = {}
        self.peers: set[int] = set()
        self.leaving = False
        self.maxmemory = 0

    def turn(self) -> None:
        """Queue the due jobs, and delete the expired ones."""
        now = time.time()
        for job in list(self.jobs.values()):
            if now >= job.created + job.ttl:
                del self.jobs[job.id]
            elif not job.queued and job.due <= now:
                job.additional += job.offered
                job.queued = job.offered = True

    def queued(self, queue: bytes) -> list[Job]:
        """Return the waiting jobs, oldest first."""
        return sorted(
            (job for job in self.jobs.values() if job.queued and job.queue == queue), key=lambda job: job.created
        )

    def known(self, name: bytes) -> Job | None:
        """Return the job with an id."""
        if not (name.startswith(b"D-") and len(name) == 40):
            raise Refused("BADID Invalid Job ID format.")
        return self.jobs.get(name)

    # commands

    def hello(self) -> list[Any]:
        return [1, NODE.encode(), [NODE.encode(), b"", str(self.port).encode(), b"1"]]

    def ping(self) -> bytes:
        return b"PONG"

    def time(self) -> list[bytes]:
        seconds, fraction = divmod(time.time(), 1)
        return [b"%d" % seconds, b"%d" % (fraction * 1e6)]

    def addjob(self, queue: bytes, body: bytes, _milliseconds: bytes, *words: bytes) -> bytes:
        given, rest = {}, list(words)
        while rest:
            word = rest.pop(0).upper()
            given[word] = 1 if word == b"ASYNC" else number(rest.pop(0) if rest else b"")
        if unknown := given.keys() - {b"REPLICATE", b"DELAY", b"RETRY", b"TTL", b"MAXLEN", b"ASYNC"}:
            raise Refused(f"ERR syntax error: {unknown}")
        ttl, delay = given.get(b"TTL", 86_400), given.get(b"DELAY", 0)
        if given.get(b"REPLICATE", 1) > 1:
            raise Refused("NOREPL Not enough reachable nodes for the requested replication level")
        if delay >= ttl:
            raise Refused("ERR The specified DELAY is greater than TTL. Job refused since would never be delivered")
        if b"MAXLEN" in given and len(self.queued(queue)) >= given[b"MAXLEN"]:
            raise Refused("MAXLEN Queue is already longer than the specified MAXLEN count")
        if self.paused.get(queue) in (b"in", b"all"):
            raise Refused("PAUSED Queue paused in input, try later")
        self.stay()
        if 0 < self.maxmemory < MEMORY:
            raise Refused("OOM command not allowed when used memory > 'maxmemory'.")
        job = Job(queue, body, retry=given.get(b"RETRY", 300), ttl=ttl, delay=delay)
        self.jobs[job.id] = job
        return job.id

    def getjob(self, *words: bytes) -> list[Any] | None:
        rest, hang, timeout, count, counters = list(words), True, 0, 1, False
        while rest and (word := rest.pop(0).upper()) != b"FROM":
            match word:
                case b"NOHANG":
                    hang = False
                case b"TIMEOUT":
                    timeout = number(rest.pop(0))
                case b"COUNT":
                    count = number(rest.pop(0))
                case b"WITHCOUNTERS":
                    counters = True
                case _:
                    raise Refused("ERR syntax error")
        self.stay()
        deadline = time.monotonic() + timeout / 1000 if timeout else float("inf")
        while True:
            self.turn()
            found = [
                job for queue in rest if self.paused.get(queue) not in (b"out", b"all") for job in self.queued(queue)
            ]
            if found:
                return [self.deliver(job, counters) for job in found[:count]]
            for queue in rest:
                self.need(queue, count)
            if any(map(self.queued, rest)):
                continue
            left = deadline - time.monotonic()
            if not hang or left <= 0:
                return None
            self.changed.wait(min(left, 0.05))

    def need(self, queue: bytes, count: int) -> None:
        """Get jobs of a queue from the other nodes."""
        command = b"YOURJOB %d %s" % (count, queue.hex().encode())
        self.changed.release()  # two nodes that ask each other must not wait for each other
        try:
            found = [job for port in tuple(self.peers) for job in asked(port, command)]
        finally:
            self.changed.acquire()
        self.jobs.update((job.id, job) for job in found)

    def yourjob(self, count: bytes, queue: bytes) -> bytes:
        """Give jobs to another node."""
        given = self.queued(bytes.fromhex(queue.decode()))[: number(count)]
        for job in given:
            del self.jobs[job.id]
        return pickle.dumps(given)

    def deliver(self, job: Job, counters: bool) -> list[Any]:
        job.queued, job.due = False, time.time() + job.retry if job.retry else float("inf")
        more = [b"nacks", job.nacks, b"additional-deliveries", job.additional] if counters else []
        return [job.queue, job.id, job.body, *more]

    def ackjob(self, *names: bytes) -> int:
        return sum(self.jobs.pop(job.id, None) is not None for name in names if (job := self.known(name)))

    fastack = deljob = ackjob

    def nack(self, *names: bytes) -> int:
        known = [job for name in names if (job := self.known(name)) and not job.queued]
        for job in known:
            job.queued, job.nacks = True, job.nacks + 1
        return len(known)

    def working(self, name: bytes) -> int:
        job = self.known(name)
        if job is None:
            raise Refused("NOJOB Job not known in the context of this node.")
        if time.time() > job.created + job.ttl / 2:
            raise Refused("TOOLATE Half of job TTL already elapsed, you are no longer allowed to postpone it.")
        job.queued, job.due = False, time.time() + job.retry
        return job.retry

    def qlen(self, queue: bytes) -> int:
        return len(self.queued(queue))

    def qpeek(self, queue: bytes, count: bytes) -> list[Any]:
        return [[job.queue, job.id, job.body] for job in self.queued(queue)[: number(count)]]

    def qstat(self, queue: bytes) -> list[Any] | None:
        waiting = len(self.queued(queue))
        return [b"name", queue, b"len", waiting] if waiting else None

    def qscan(self, _cursor: bytes, *_words: bytes) -> list[Any]:
        return [b"0", sorted({job.queue for job in self.jobs.values()})]

    def jscan(self, cursor: bytes, *words: bytes) -> list[Any]:
        given = dict(zip(words[::2], words[1::2], strict=True))
        jobs = sorted(self.jobs.values(), key=lambda job: job.created)
        start = number(cursor)
        page = [
            job.shown() if given.get(b"REPLY") == b"all" else job.id
            for job in jobs[start : start + PAGE]
            if given.get(b"QUEUE", job.queue) == job.queue and given.get(b"STATE", state_of(job)) == state_of(job)
        ]
        return [b"0" if start + PAGE >= len(jobs) else str(start + PAGE).encode(), page]

    def show(self, name: bytes) -> list[Any] | None:
        job = self.known(name)
        return job.shown() if job else None

    def pause(self, queue: bytes, how: bytes) -> bytes:
        if how != b"state":
            self.paused[queue] = how
        return self.paused.get(queue, b"none")

    def stay(self) -> None:
        if self.leaving:
            raise Refused("LEAVING this node is leaving the cluster. Connect to another node please")

    def cluster(self, what: bytes, answer: bytes, *port: bytes) -> str:
        if what.upper() == b"MEET":
            self.peers.add(number(port[0]))
        else:
            self.leaving = answer == b"yes"
        return "OK"

    def config(self, _set: bytes, _maxmemory: bytes, value: bytes) -> str:
        self.maxmemory = number(value)
        return "OK"

    def info(self, *_section: bytes) -> bytes:
        return b"# Server\r\ndisque_version:1.0-rc1\r\ntcp_port:%d\r\n" % self.port


def asked(port: int, command: bytes) -> list[Job]:
    """Return jobs of another node; none if it is unavailable."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line, line.makefile("rb") as answer:
            line.sendall(command + b"\r\n")
            size = answer.readline()
            return pickle.loads(answer.read(int(size[1:]))) if size.startswith(b"$") else []
    except OSError:
        return []


def state_of(job: Job) -> bytes:
    """Return its state in the words of the scan."""
    return b"queued" if job.queued else b"active"


def number(word: bytes) -> int:
    """Return a whole number that is not negative."""
    if not word.isdigit():
        raise Refused("ERR value is not an integer or out of range")
    return int(word)


COMMANDS = {
    "ackjob", "addjob", "cluster", "config", "deljob", "fastack", "getjob", "hello", "info", "jscan", "nack", "pause",
    "ping", "qlen", "qpeek", "qscan", "qstat", "show", "time", "working", "yourjob",
}  # fmt: skip


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    node: Node

    def handle(self) -> None:
        """Answer until the client closes the connection."""
        self.known = not self.node.password
        try:
            while words := self.read():
                self.wfile.write(encode(self.answer(*words)))
        except OSError:
            pass

    def read(self) -> list[bytes]:
        """Read one command."""
        line = self.rfile.readline()
        if not line.startswith(b"*"):
            return line.split()
        words = []
        for _word in range(int(line[1:])):
            size = int(self.rfile.readline()[1:])
            words.append(self.rfile.read(size + 2)[:-2])
        return words

    def answer(self, command: bytes, *words: bytes) -> Any:
        """Execute a command, and return the reply."""
        name = command.decode().lower()
        if name == "auth":
            self.known = words == (self.node.password.encode(),)
            return "OK" if self.known else Refused("ERR invalid password")
        if not self.known:
            return Refused("NOAUTH Authentication required.")
        if name not in COMMANDS:
            return Refused(f"ERR unknown command '{name}'")
        if name == "hello" and words:
            return Refused("ERR wrong number of arguments for 'hello' command")
        with self.node.changed:
            try:
                self.node.turn()
                return getattr(self.node, name)(*words)
            except Refused as refusal:
                return refusal
            except TypeError:
                return Refused(f"ERR wrong number of arguments for '{name}' command")
            finally:
                self.node.changed.notify_all()


def encode(value: Any) -> bytes:
    """Return a reply in the old protocol of Redis."""
    match value:
        case Refused():
            return f"-{value}\r\n".encode()
        case None:
            return b"*-1\r\n"
        case str():
            return f"+{value}\r\n".encode()
        case int():
            return b":%d\r\n" % value
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(encode, value))


class Server(socketserver.ThreadingTCPServer):
    """Server with a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def main(port: str, data: str, password: str) -> None:
    """Serve until SIGTERM, then save the data."""
    node, file = Node(int(port), password), Path(data)
    if file.exists():
        node.jobs = pickle.loads(file.read_bytes())
    Handler.node = node

    def end(*_signal: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server = Server(("127.0.0.1", int(port)), Handler)
    server.serve_forever(0.05)
    with node.changed:
        file.write_bytes(pickle.dumps(node.jobs))


if __name__ == "__main__":
    main(*sys.argv[1:])
