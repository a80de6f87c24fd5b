"""Adds the method `options` to calls, to separate options from keyword arguments: `async_task.options(delay=5)`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from django_q.wire.options import ALL_OPTIONS, validated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from django_q.wire.options import SendOptions

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class WithOptions(Protocol[P, R_co]):
    """Call that sends tasks, with a method for its options."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Send tasks."""
        ...

    def options(self, **options: Unpack[SendOptions]) -> Callable[P, R_co]:
        """Return the same call with these options. All keywords of that call are arguments of the function.

        Raises:
            OptionError: an option does not exist or is invalid.
        """
        ...


def with_options(
    send: Callable[Concatenate[dict[str, Any], P], R_co], known: Sequence[str] = ALL_OPTIONS
) -> Callable[[Callable[P, R_co]], WithOptions[P, R_co]]:
    """Return a decorator that adds the method `options` to a call.

    Args:
        send: works like the call; its first argument is the dict of valid options.
        known: names of the options that the call accepts.
    """

    def decorate(call: Callable[P, R_co]) -> WithOptions[P, R_co]:
        def options(**options: Unpack[SendOptions]) -> Callable[P, R_co]:
            return cast("Callable[P, R_co]", partial(send, validated(options, known)))

        options.__doc__ = WithOptions.options.__doc__
        options.__qualname__ = f"{call.__qualname__}.options"
        configurable = cast("WithOptions[P, R_co]", call)
        configurable.options = options  # type: ignore[method-assign]
        return configurable

    return decorate
