"""Settings: the typed fields of `Q_CLUSTER`, their rules, and where their values come from."""

from django_q.settings.current import current_settings
from django_q.settings.fields import ClusterSettings

__all__ = ["ClusterSettings", "current_settings"]
