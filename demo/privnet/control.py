"""A client of Tor's control protocol: commands, replies and events, no more than a run needs."""

import asyncio
from collections.abc import Callable
from pathlib import Path


class ControlError(Exception):
    """The node refused a command or the connection to it ended."""


class Parser:
    """Puts lines of the control protocol together to replies. Pure: it is fed line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._data: list[str] | None = None
        self._code = ""

    def feed(self, line: str) -> tuple[str, list[str]] | None:
        """Takes a line without its end; returns (code, lines) when it completes a reply.

        Data of a `250+` line is appended to that line, each data line after a newline.
        """
        if self._data is not None:
            if line != ".":
                self._data.append(line[1:] if line.startswith("..") else line)
                return None
            self._lines[-1] += "".join("\n" + data for data in self._data)
            self._data = None
            return None
        if len(line) < 4 or not line[:3].isdigit() or line[3] not in "-+ ":
            raise ControlError(f"not the control protocol: {line[:80]!r}")
        self._code = line[:3]
        self._lines.append(line[4:])
        if line[3] == "+":
            self._data = []
        if line[3] != " ":
            return None
        reply, self._lines = self._lines, []
        return self._code, reply


def keywords(words: list[str]) -> dict[str, str]:
    """The KEY=VALUE words of an event."""
    return dict(word.split("=", 1) for word in words if "=" in word)


class Control:
    """One authenticated connection to a control port."""

    def __init__(self, on_event: Callable[[str], None] | None = None) -> None:
        self._on_event = on_event
        self._waiting: list[asyncio.Future] = []
        self._closed: ControlError | None = None
        self._task: asyncio.Task | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, host: str, port: int, cookie: Path) -> None:
        """Connects and authenticates with the cookie file. OSError while the node is not yet up."""
        secret = cookie.read_bytes()
        reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 20)
        self._task = asyncio.create_task(self._read(reader))
        try:
            await self.command(f"AUTHENTICATE {secret.hex()}")
        except ControlError:
            self.close()
            raise

    async def command(self, command: str, patience: float = 10.0) -> list[str]:
        """Sends a command; returns the lines of a positive reply."""
        if self._closed:
            raise self._closed
        reply = asyncio.get_running_loop().create_future()
        self._waiting.append(reply)
        self._writer.write(command.encode() + b"\r\n")
        verb = " ".join(command.split()[:2]) if not command.startswith("AUTH") else "AUTHENTICATE"
        try:
            async with asyncio.timeout(patience):
                code, lines = await asyncio.shield(reply)
        except TimeoutError:
            raise ControlError(f"no answer to {verb} within {patience:.0f} s") from None
        if not code.startswith("2"):
            raise ControlError(f"{verb}: {code} {lines[-1]}")
        return lines

    async def info(self, key: str) -> str:
        """The value of `GETINFO key`; lines are separated by newlines, without one in front."""
        lines = await self.command(f"GETINFO {key}")
        return lines[0].partition("=")[2].removeprefix("\n")

    def close(self) -> None:
        if self._task:
            self._task.cancel()
        if self._writer:
            self._writer.close()
        self._fail(ControlError("the control connection was closed"))

    @property
    def is_open(self) -> bool:
        return self._closed is None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        parser = Parser()
        try:
            while line := await reader.readline():
                reply = parser.feed(line.decode("utf-8", "replace").rstrip("\r\n"))
                if reply is None:
                    continue
                code, lines = reply
                if code.startswith("6"):
                    if self._on_event:
                        self._on_event(lines[0])
                elif self._waiting:
                    future = self._waiting.pop(0)
                    if not future.done():
                        future.set_result(reply)
            self._fail(ControlError("the node closed its control connection"))
        except (OSError, ValueError, ControlError) as error:
            self._fail(ControlError(f"control connection lost: {error}"))

    def _fail(self, error: ControlError) -> None:
        self._closed = self._closed or error
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: the waiter may be gone
        self._waiting.clear()
