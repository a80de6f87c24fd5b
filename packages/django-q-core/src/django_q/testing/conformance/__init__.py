"""Conformance suite: the broker contract as tests."""

from __future__ import annotations

from django_q.testing.conformance.availability import AvailabilityPromises, ProcessPromises, StatisticsPromises

from .attempts import AttemptPromises
from .batches import LargeBatchPromises
from .delivery import BulkPromises, DeliveryPromises
from .errors import ErrorPromises
from .interleaving import InterleavingPromises
from .listing import ListingPromises
from .names import NamePromises
from .neighbours import NeighbourPromises
from .priorities import PriorityPromises
from .queues import DeadLetterPromises, PurgePromises, QueuePromises
from .receipts import LeasePromises, ReceiptPromises, ReleasePromises
from .timing import TimingPromises, WaitingPromises


class BrokerConformance(
    DeliveryPromises,
    WaitingPromises,
    TimingPromises,
    BulkPromises,
    LargeBatchPromises,
    ReceiptPromises,
    LeasePromises,
    ReleasePromises,
    AttemptPromises,
    PriorityPromises,
    DeadLetterPromises,
    QueuePromises,
    ListingPromises,
    PurgePromises,
    NamePromises,
    NeighbourPromises,
    ErrorPromises,
    AvailabilityPromises,
    ProcessPromises,
    StatisticsPromises,
    InterleavingPromises,
):
    """All promises of a broker. Tests are selected by its capabilities.

    ```python
    class TestMyBroker(BrokerConformance):
        @pytest.fixture
        def make_broker(self):
            return lambda list_key: MyBroker(list_key)
    ```

    More fixtures enable more tests: `server` (with methods to stop and start it), `too_large`, `client_raises` with the
    table `client_errors`, and `hold_as_old`. `Suite` documents them, and the attributes for products that differ.
    Promises that the product cannot keep are listed in `not_promised`, with the reason. They cannot be overridden.
    """
