"""A server that fails on purpose: HTTP/1.1 by hand, over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Asked:
    """A request as the server saw it."""

    connection: int
    nth: int  # on its connection, from 1
    method: str
    path: str
    headers: dict[str, str]
    body: str
    at: str  # the server's address


# What is sent in answer, None for nothing but the end of the connection, and whether it is the end in any case.
Answer = tuple[bytes | None, bool]


@dataclass
class Server:
    """A server that answers as it is told to, each request with all that it was before."""

    answer: Callable[[Asked], Awaitable[Answer]]
    seen: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.connections += 1
        connection, nth = self.connections, 0
        at: str = writer.get_extra_info("sockname")[0]
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split()
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
                nth += 1
                asked = Asked(connection, nth, method, path, headers, body, at)
                self.seen.append(asked)
                text, end = await self.answer(asked)
                if text is not None:
                    writer.write(text)
                    await writer.drain()
                    # A moment later, when the client is through with the answer.
                    await asyncio.sleep(0.003 if end else 0)
                if text is None or end or headers.get("connection") == "close":
                    break
        writer.close()

    @contextmanager
    def beside(self, tls: ssl.SSLContext) -> Iterator[Server]:
        """Have it listen in a thread."""
        ready, ends = Event(), list[Callable[[], object]]()

        async def serving() -> None:
            async with listening(self, tls):
                end = asyncio.Event()
                ends.append(partial(asyncio.get_running_loop().call_soon_threadsafe, end.set))
                ready.set()
                await end.wait()

        thread = Thread(target=lambda: asyncio.run(serving()))
        thread.start()
        assert ready.wait(5)
        try:
            yield self
        finally:
            ends[0]()
            thread.join(5)


async def fine(asked: Asked) -> Answer:
    """Answer everything."""
    await asyncio.sleep(20 if asked.path == "/hangs" else 0)
    return OK, False


@asynccontextmanager
async def listening(server: Server, tls: ssl.SSLContext) -> AsyncIterator[None]:
    """Have a server listen on a port of its own."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    second = await asyncio.start_server(server.serve, "127.0.0.2", server.port, ssl=tls)
    yield
    listener.close()
    second.close()
