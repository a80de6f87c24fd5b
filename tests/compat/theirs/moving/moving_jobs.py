# It runs on Python 3.9 too.
"""Tasks that leave a line in a file each time they run."""

import os
import time


def mark(label, seconds=0.0):
    """Note a label."""
    time.sleep(seconds)
    file = os.open(os.environ["MOVING_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{label}\n".encode())
    os.close(file)
    return label


def fail(label):
    """Note a label and fail."""
    mark(label)
    raise ValueError("no such thing")


def hook(task):
    """Note the result of a task."""
    mark(f"hook of {task.result}")
