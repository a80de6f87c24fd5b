"""The broker's contract, as tests."""

from __future__ import annotations

from django_q.testing.conformance.availability import ProcessPromises, ReachingPromises, StatisticsPromises

from .attempts import AttemptPromises
from .batches import LargeBatchPromises
from .delivery import BulkPromises, DeliveryPromises
from .errors import ErrorPromises
from .interleaving import InterleavingPromises
from .names import NamePromises
from .neighbours import NeighbourPromises
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
    DeadLetterPromises,
    QueuePromises,
    PurgePromises,
    NamePromises,
    NeighbourPromises,
    ErrorPromises,
    ReachingPromises,
    ProcessPromises,
    StatisticsPromises,
    InterleavingPromises,
):
    """Every promise of a broker, chosen by what it says it supports.

    ```python
    class TestMyBroker(BrokerConformance):
        @pytest.fixture
        def make_broker(self):
            return lambda list_key: MyBroker(list_key)
    ```

    More fixtures let more be tested: `server` (what may be stopped and started), `too_large`, `client_raises` with the
    table `client_errors`, and `hold_as_old`; `Suite` describes them, and the attributes for products that differ. What
    the product cannot do is named in `not_promised`, with the reason; a promise cannot be overridden.
    """
