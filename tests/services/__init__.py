"""Private servers for tests: each on a free port, in a temporary folder, ended by its process id."""

from __future__ import annotations

from tests.services.disque import Disque
from tests.services.ironmq import IronMQ
from tests.services.mariadb import MariaDB
from tests.services.memcached import Memcached
from tests.services.mongo import Mongo
from tests.services.postgres import Postgres
from tests.services.proxy import Proxy
from tests.services.redis import OldRedis, Redis
from tests.services.redis_cluster import RedisCluster
from tests.services.redis_sentinel import RedisSentinel
from tests.services.server import Server, Unavailable
from tests.services.sqs import Ministack, Moto

__all__ = [
    "Disque",
    "IronMQ",
    "MariaDB",
    "Memcached",
    "Ministack",
    "Mongo",
    "Moto",
    "OldRedis",
    "Postgres",
    "Proxy",
    "Redis",
    "RedisCluster",
    "RedisSentinel",
    "Server",
    "Unavailable",
]
