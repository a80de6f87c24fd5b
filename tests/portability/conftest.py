"""Products without a server."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.services.fixtures import missing

from .backends import ENGINES, database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=sorted(ENGINES))
def product(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Any]:
    """Django's connection to a product; its driver records the statements."""
    with ExitStack() as stack:
        try:
            wrapper = stack.enter_context(database(request.param))
        except ImproperlyConfigured as error:
            missing(request.param, error)
        stack.enter_context(django_db_blocker.unblock())
        yield wrapper


@pytest.fixture
def everything_there(product: Any, settings: Any) -> Any:
    """Let all models be in the product's database."""
    settings.DATABASE_ROUTERS = [Router(product.alias)]
    return product


class Router:
    """Sends all models to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """Return the database."""
        return self.alias

    db_for_write = db_for_read
