import pytest
from django.conf import settings
from django_q.brokers import get_broker
from django_q.testing import BrokerConformance


class TestFolder(BrokerConformance):
    @pytest.fixture
    def make_broker(self, tmp_path):
        if not settings.configured:
            settings.configure(Q_CLUSTER={"folder": str(tmp_path)})
        return get_broker
