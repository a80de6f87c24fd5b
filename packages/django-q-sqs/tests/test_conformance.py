from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_sqs import Sqs

if TYPE_CHECKING:
    from tests.services import Ministack, Moto


def maker(emulator: Ministack | Moto):
    emulator.door.start()
    settings = ClusterSettings.from_mapping({"sqs": emulator.options})
    return lambda list_key: Sqs(list_key, settings=settings)


class TestMinistack(BrokerConformance):
    @pytest.fixture
    def make_broker(self, ministack_server: Ministack):
        return maker(ministack_server)

    @pytest.fixture
    def server(self, ministack_server: Ministack):
        return ministack_server.door


STALE = "SQS may take a receipt whose lease is over, or whose message is gone, for a good one; moto always does"


class TestMoto(BrokerConformance):
    not_promised = {
        "test_acknowledging_twice_is_harmless": STALE,
        "test_lost_lease_cannot_acknowledge": STALE,
        "test_lost_lease_cannot_be_renewed": STALE,
        "test_lost_lease_cannot_bury": STALE,
        "test_lost_lease_cannot_release": STALE,
        "test_lost_leases_are_told_from_kept_ones": STALE,
    }

    @pytest.fixture
    def make_broker(self, moto_server: Moto):
        return maker(moto_server)

    @pytest.fixture
    def server(self, moto_server: Moto):
        return moto_server.door
