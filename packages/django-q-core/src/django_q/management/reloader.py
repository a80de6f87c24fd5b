"""Restarts a command when code of the project changes, for development: `qcluster --reload`."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings
from django.utils import autoreload
from django.utils.translation import gettext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

POLL_SECONDS: Final = 0.1
"""Interval of the checks if the command has ended or code has changed."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

STOPPED: Final = 0
"""Exit status after a signal, if the command does not run."""


def is_reloaded() -> bool:
    """Return True if this process was started by a `Reloader`."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


class Reloader:
    """Runs this program again as a child, and replaces the child when code has changed.

    The child always starts with fresh code. If it fails, for instance because of a syntax error, the next change
    starts it again.

    Args:
        write: writes a line for the developer.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
        self.changed = threading.Event()
        self.stop_requested = False
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the child until it exits with 0, or a signal arrives.

        Returns:
            The exit status for this process.
        """
        for number in SIGNALS:
            signal.signal(number, self._forward)
        self._watch()
        while True:
            status = self._run_child()
            if self.stop_requested or (status == 0 and not self.changed.is_set()):
                return status
            if not self.changed.is_set():
                self.write(gettext("The cluster has ended. It starts again when code changes."))
            while not self.changed.wait(POLL_SECONDS):
                if self.stop_requested:
                    return STOPPED

    def _run_child(self) -> int:
        """Start the child, and return its exit status. Stop it when code changes."""
        self.changed.clear()
        # In a session of its own, since Ctrl-C would reach it twice: from the terminal, and from this process.
        self.child = subprocess.Popen(
            autoreload.get_child_arguments(),
            env=os.environ | {autoreload.DJANGO_AUTORELOAD_ENV: "true"},
            start_new_session=True,
        )
        while self.child.poll() is None:
            if self.changed.wait(POLL_SECONDS):
                self.child.send_signal(signal.SIGTERM)
                self.child.wait()
        return self.child.returncode

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        if self.child is not None:
            self.child.send_signal(signum)

    def _watch(self) -> None:
        """Watch the files in a thread."""
        reloader = autoreload.get_reloader()
        for folder, pattern in watched():
            reloader.watch_dir(folder, pattern)
        autoreload.file_changed.connect(self._note, weak=False)
        threading.Thread(target=reloader.run, args=(threading.main_thread(),), name="reloader", daemon=True).start()

    def _note(self, file_path: Path, **_: Any) -> bool:
        """Record a change. The return value tells Django that it is handled."""
        if not self.changed.is_set():
            self.write(gettext("%s changed: the cluster is restarted.") % file_path)
            self.changed.set()
        return True


def watched() -> Iterator[tuple[Path, str]]:
    """Return folders and patterns to watch besides imported modules: the apps of the project, and its settings."""
    installed = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    for config in apps.get_app_configs():
        folder = Path(config.path)
        if not any(folder.is_relative_to(each) for each in installed):
            yield folder, "**/*.py"
    module = getattr(settings, "SETTINGS_MODULE", None)
    file = getattr(import_module(module), "__file__", None) if module else None
    if file:
        yield Path(file).parent, "*.py"
