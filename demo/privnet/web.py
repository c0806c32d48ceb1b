"""The web server that downloads come from. What an object holds follows from the seed and its name."""

import asyncio
import hashlib
import random
from functools import lru_cache

from .errors import Failure

MAX_OBJECT = 1 << 30


@lru_cache(maxsize=8)
def content(seed: int, name: str, size: int) -> bytes:
    """The bytes of an object."""
    return random.Random(f"{seed}/{name}/{size}").randbytes(size)


@lru_cache(maxsize=4096)
def digest(seed: int, name: str, size: int) -> str:
    """The SHA-256 of an object, in hex, without asking the network for it."""
    return hashlib.sha256(content(seed, name, size)).hexdigest()


def path_of(name: str, size: int) -> str:
    return f"/{name}/{size}"


class WebServer:
    """Answers `GET /NAME/SIZE` with that object, over HTTP/1.0."""

    def __init__(self, seed: int):
        self._seed = seed
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        try:
            self._server = await asyncio.start_server(self._serve, host, port, backlog=1024)
        except OSError as error:
            raise Failure(f"the web server cannot listen on {host}:{port}: {error}") from error

    def stop(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(60):
                request = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
            status, body = self._answer(request)
            head = f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            view = memoryview(body)
            for offset in range(0, len(view), 1 << 16):
                writer.write(view[offset : offset + (1 << 16)])
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # the reader went away or was no HTTP client; the download's own check tells
        finally:
            writer.close()

    def _answer(self, request: list[str]) -> tuple[str, bytes]:
        parts = request[1].split("/") if len(request) >= 2 and request[0] == "GET" else []
        if len(parts) != 3 or not parts[2].isdigit() or int(parts[2]) > MAX_OBJECT:
            return "400 Bad Request", b""
        return "200 OK", content(self._seed, parts[1], int(parts[2]))
