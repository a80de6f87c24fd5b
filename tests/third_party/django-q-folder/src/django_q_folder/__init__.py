"""A broker whose packages are files: `Q_CLUSTER = {"folder": "/somewhere"}`."""

import itertools
import shutil
import time
from pathlib import Path

from django_q.brokers import Broker


class Folder(Broker):
    """A file is called `<when it is offered>-<number>-<leases>`: taking it renames it to when its lease ends."""

    supports_delay = 86_400

    numbers = itertools.count()

    @property
    def folder(self):
        folder = Path(self.settings.others["folder"], self.list_key)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def enqueue(self, package, *, delay=0):
        name = self.name(delay)
        hidden = self.folder / f".{name}"
        hidden.write_text(package, newline="")
        hidden.rename(self.folder / name)
        return name

    def dequeue(self):
        for name in sorted(self.names()):
            if not is_due(name):
                break
            leased = self.folder / self.name(self.settings.retry, leases_of(name) + 1)
            try:
                (self.folder / name).rename(leased)
                return [(leased.name, leased.read_bytes().decode(), leases_of(leased.name))]
            except FileNotFoundError:
                continue  # another consumer was faster
        return None

    def acknowledge(self, ack_id):
        try:
            (self.folder / ack_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def queue_size(self):
        return sum(map(is_due, self.names()))

    def purge_queue(self):
        for name in self.names():
            if leases_of(name) == 0 or is_due(name):
                (self.folder / name).unlink(missing_ok=True)

    def delete_queue(self):
        for queue in (self, self.dead_letters()):
            shutil.rmtree(queue.folder)

    def names(self):
        return [file.name for file in self.folder.iterdir() if not file.name.startswith(".")]

    def name(self, delay, leases=0):
        return f"{time.time_ns() + int(delay * 1e9)}-{next(self.numbers):09}-{id(self)}-{leases}"


def is_due(name):
    return int(name.split("-")[0]) <= time.time_ns()


def leases_of(name):
    return int(name.rpartition("-")[2])
