"""Work that is done once before the first fork."""

from __future__ import annotations

from django_q.cluster import preload, rehearsal
from django_q.settings import ClusterSettings


def test_cluster_rehearses_before_it_forks(monkeypatch):
    rehearsed = []
    monkeypatch.setattr(rehearsal, "rehearse", rehearsed.append)
    monkeypatch.setattr(preload.gc, "freeze", lambda: None)
    settings = ClusterSettings.from_mapping({"broker_class": "django_q.brokers.memory.MemoryBroker"})
    preload.preload(settings)
    preload.preload(settings)
    assert rehearsed == [settings]
