"""Lends books, and reminds readers: everything slow is a task."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django_q.tasks import async_chain, async_iter, async_task, schedule

from library.models import Loan

printed: list[str] = []
"""Lines of the printer at the desk of the library."""

broken: list[str] = []
"""Names of devices that do not work."""


def lend(book: str, reader: str) -> Loan:
    """Lend a book. Its slip is printed after the commit, and a reminder follows after two weeks."""
    with transaction.atomic():
        loan = Loan.objects.create(book=book, reader=reader)
        async_task.options(on_commit=True, group=reader)(print_slip, loan.pk)
        async_task.options(delay=timedelta(days=14), group="reminders")(remind, loan.pk)
    return loan


def print_slip(pk: int) -> str:
    """Print the slip of a loan."""
    if "printer" in broken:
        raise OSError("the printer has no paper")
    loan = Loan.objects.get(pk=pk)
    printed.append(f"{loan.book} for {loan.reader}")
    return loan.book


def remind(pk: int) -> int:
    """Count a reminder of a loan that has not ended."""
    loan = Loan.objects.filter(pk=pk).first()
    if loan is None:
        return 0
    loan.reminders += 1
    loan.save()
    return loan.reminders


def catalogue(books: list[str]) -> str:
    """Describe books, each in a task of its own, and print the list when all are described."""
    return async_iter(describe, [(book,) for book in books], q_options={"callback": "library.lending.print_list"})


def describe(book: str) -> str:
    """Return the line of a book in the list."""
    return f"* {book}"


def print_list(task) -> None:
    """Print the list of books."""
    printed.append("\n".join(task.result))


def clear_out(book: str) -> str:
    """Search a book, then remove it."""
    return async_chain([("library.lending.describe", (book,)), ("library.lending.remove", (book,))], group="clear out")


def remove(book: str) -> int:
    """Delete the loans of a book."""
    return Loan.objects.filter(book=book).delete()[0]


def close_each_evening() -> None:
    """Print the loans of the day each evening."""
    schedule("library.lending.print_all", name="evening", schedule_type="D")


def print_all() -> None:
    """Print the number of loans."""
    printed.append(f"{Loan.objects.count()} loans")


def on_slip(task) -> None:
    """Print the outcome of a slip: a hook."""
    printed.append("printed" if task.success else "not printed")
