"""Executes tasks, with their timeouts, coroutines and hooks, and builds their outcomes."""

from django_q.execution.executor import Executor

__all__ = ["Executor"]
