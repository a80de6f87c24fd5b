"""The broker's contract, as tests."""

from __future__ import annotations

from .attempts import AttemptPromises
from .delivery import BulkPromises, DeliveryPromises, WaitingPromises
from .queues import DeadLetterPromises, QueuePromises
from .reaching import ProcessPromises, ReachingPromises, StatisticsPromises
from .receipts import LeasePromises, ReceiptPromises, ReleasePromises


class BrokerConformance(
    DeliveryPromises,
    WaitingPromises,
    BulkPromises,
    ReceiptPromises,
    LeasePromises,
    ReleasePromises,
    AttemptPromises,
    DeadLetterPromises,
    QueuePromises,
    ReachingPromises,
    ProcessPromises,
    StatisticsPromises,
):
    """Every promise of a broker, chosen by what it says it supports.

    ```python
    class TestMyBroker(BrokerConformance):
        @pytest.fixture
        def make_broker(self):
            return lambda list_key: MyBroker(list_key)
    ```

    A broker with a server that tests may end offers it as the fixture `server`. What the product cannot do is named in
    `not_promised`, with the reason; a promise cannot be overridden.
    """
