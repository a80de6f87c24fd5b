"""MongoDB, for tests: a `mongod` if it is installed, or else mongoeco, an independent server of the same protocol."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from tests.services.environment import environment
from tests.services.server import Server

if TYPE_CHECKING:
    from pymongo import MongoClient

MONGOECO = """
import asyncio, signal, sys
from mongoeco.engines import SQLiteEngine
from mongoeco.wire import AsyncMongoEcoProxyServer

async def main(port, path):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncMongoEcoProxyServer(engine=SQLiteEngine(path), host="127.0.0.1", port=port):
        await stop.wait()

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


class Mongo(Server):
    """A server. Its data stays if it is stopped."""

    product = "mongodb"

    @property
    def options(self) -> dict[str, Any]:
        """Value of the setting `mongo`."""
        return {"host": self.host, "port": self.port}

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        if mongod := shutil.which("mongod"):
            where = ["--bind_ip", self.host, "--port", str(self.port), "--unixSocketPrefix", str(self.folder)]
            return [mongod, "--dbpath", str(self.folder), *where]
        python = environment("mongoeco", "pymongo", python=(3, 13)) / "python"
        data = str(self.folder / "data.sqlite3")
        return ["env", "-u", "PYTHONPATH", str(python), "-c", MONGOECO, str(self.port), data]

    def ready(self) -> bool:
        """Return True if it answers."""
        from pymongo.errors import PyMongoError

        try:
            with self.connect() as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def connect(self) -> MongoClient[dict[str, Any]]:
        """Return a client."""
        from pymongo import MongoClient

        return MongoClient(**self.options, serverSelectionTimeoutMS=500, directConnection=True)


class GivenMongo(Mongo):
    """The server that `MONGO_URL` names, which tests neither start nor stop."""

    @property
    def options(self) -> dict[str, Any]:
        """Value of the setting `mongo`."""
        return {"host": os.environ["MONGO_URL"]}

    def start(self, within: float = 30) -> None:
        """Do nothing: it runs already."""

    def stop(self) -> None:
        """Do nothing."""
