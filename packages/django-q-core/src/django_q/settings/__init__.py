"""Settings: the typed fields of `Q_CLUSTER`, their rules, and the sources of their values."""

from django_q.settings.current import current_settings
from django_q.settings.fields import ClusterSettings

__all__ = ["ClusterSettings", "current_settings"]
