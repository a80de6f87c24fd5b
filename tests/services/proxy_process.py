"""Forwards TCP connections to another server. Commands on a control socket disturb them.

Usage: `python proxy_process.py PORT TARGET_HOST TARGET_PORT CONTROL_SOCKET`. A connection to the control socket sends
one line: `forward`, `stall`, `mute`, `drop`, `freeze`, `cut` or `count`. It gets one line: a number of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

MODES = ("forward", "stall", "mute", "drop")

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the socket resets the connection."""


class Forwarder:
    """All connections of the proxy."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.mode = "forward"
        self.changed = asyncio.Event()
        self.open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self.frozen: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until one side closes it."""
        if self.mode == "drop":
            abort(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self.open[task] = [writer]
        try:
            await self.passable(task, "stall")
            target_reader, target_writer = await asyncio.open_connection(*self.target)
            self.open[task].append(target_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.copy(task, reader, target_writer, ("stall",)))
                group.create_task(self.copy(task, target_reader, writer, ("stall", "mute")))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # an end was closed, or `cut` was called
        finally:
            self.frozen.discard(task)
            for each in self.open.pop(task):
                abort(each)

    async def copy(
        self,
        connection: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        closed: tuple[str, ...],
    ) -> None:
        """Copy one direction, and wait in the modes *closed*."""
        while data := await reader.read(65_536):
            await self.passable(connection, *closed)
            writer.write(data)
            await writer.drain()
        await self.passable(connection, *closed)
        writer.write_eof()

    async def passable(self, connection: asyncio.Task[None], *closed: str) -> None:
        """Wait until the mode is none of these; a frozen connection waits until it is cut."""
        while self.mode in closed or connection in self.frozen:
            await self.changed.wait()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Execute one command."""
        command, count = (await reader.readline()).decode().strip(), len(self.open)
        if command in MODES:
            self.mode = command
            self.changed.set()
            self.changed.clear()
        elif command == "freeze":
            self.frozen.update(self.open)
        elif command == "cut":
            await self.cut()
        elif command != "count":
            raise ValueError(command)
        writer.write(f"{count}\n".encode())
        await writer.drain()
        writer.close()

    async def cut(self) -> None:
        """Reset both ends of each connection."""
        tasks = list(self.open)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection. Buffered data is lost."""
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def main(port: str, host: str, target: str, control: str) -> None:
    """Run until killed."""
    forwarder = Forwarder(host, int(target))
    server = await asyncio.start_server(forwarder.connected, "127.0.0.1", int(port))
    async with server, await asyncio.start_unix_server(forwarder.control, control):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
