"""An application with secrets in files: it does what applications do, and tries what only an intruder would."""

import asyncio
import ctypes
import errno
import hashlib
import multiprocessing
import os
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, WebSocket
from fastapi.responses import FileResponse

FILES = Path(os.environ["SLIPWAY_SHARED"], "files")
NAMES = ("TOKEN", "SEAL", "KEEPER_DATABASE_URL")

app = FastAPI(title="Keeper")


@app.get("/up")
async def up() -> dict[str, str]:
    """Say which release this is."""
    return {"release": os.environ["SLIPWAY_RELEASE"]}


@app.get("/secrets")
def secrets() -> dict[str, Any]:
    """Return a digest of each secret in a file, and the names of those in the environment."""
    folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }
    return {"files": digests, "environment": [name for name in NAMES if name in os.environ]}


@app.put("/files/{name}")
async def keep(name: str, request: Request) -> dict[str, int]:
    """Keep an upload, by way of a temporary file."""
    FILES.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=FILES, delete=False) as file:
        async for piece in request.stream():
            file.write(piece)
    return {"size": Path(file.name).rename(FILES / name).stat().st_size}


@app.get("/files/{name}")
async def kept(name: str) -> FileResponse:
    """Return an upload."""
    return FileResponse(FILES / name)


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Send back each text."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@app.get("/resolve")
def resolve(name: str) -> list[str]:
    """Return the addresses of a name."""
    return sorted(
        {str(found[4][0]) for found in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    )


@app.post("/fetch")
def fetch(
    address: Annotated[str, Body()], name: Annotated[str, Body()], authority: Annotated[str, Body()]
) -> str:
    """Ask another host by TLS that is verified, and return the first line of its answer."""
    context = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection((address, 443), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        tls.sendall(f"GET /readyz HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return tls.makefile("rb").readline().decode().strip()


def square(number: int) -> int:
    """Return a square, in another process."""
    return number * number


def pool() -> Any:
    """Have other processes work; they wait for each other by semaphores in /dev/shm."""
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        return workers.map(square, range(4))


def callback() -> Any:
    """Have C call Python, for which code is made as it runs."""
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(square)(7)


def scratch() -> Any:
    """Write a temporary file and read it."""
    with tempfile.TemporaryFile() as file:
        file.write(b"well")
        file.seek(0)
        return file.read().decode()


WORK: dict[str, Callable[[], Any]] = {
    "pool": pool,
    "callback": callback,
    "scratch": scratch,
    "memory": lambda: "MemTotal" in Path("/proc/meminfo").read_text(),
    "load": lambda: len(os.getloadavg()),
    "interfaces": lambda: len(socket.if_nameindex()) > 0,
}


@app.get("/ability/{what}")
async def work(what: str) -> Any:
    """Do something that applications do, and return what came of it."""
    return await asyncio.to_thread(WORK[what])


libc = ctypes.CDLL(None, use_errno=True)


def call(number: int) -> None:
    """Fail as a function of the C library that returned this."""
    if number < 0:
        raise OSError(ctypes.get_errno(), "")


def connect(family: int, kind: int) -> None:
    """Make a socket."""
    socket.socket(family, kind).close()


TRIES: dict[str, Callable[[str], Any]] = {
    "read": lambda path: Path(path).read_bytes(),
    "list": lambda path: list(Path(path).iterdir()),
    "write": lambda path: Path(path, "mine").write_text("mine"),
    "change": lambda path: Path(path).write_text("mine"),
    "setuid": lambda path: Path(path).chmod(0o4755),
    "namespace": lambda _: call(libc.unshare(0x10000000)),  # CLONE_NEWUSER
    "mount": lambda path: call(libc.mount(b"none", path.encode(), b"tmpfs", 0, None)),
    "packet": lambda _: connect(socket.AF_PACKET, socket.SOCK_RAW),
    "nice": lambda _: os.setpriority(os.PRIO_PROCESS, 0, 5),
    "hostname": lambda name: socket.sethostname(name),
}


@app.post("/try/{what}")
def attempt(what: str, with_: Annotated[str, Body(embed=True, alias="with")]) -> str:
    """Try what it must not; return the name of the error, empty if it was let."""
    try:
        TRIES[what](with_)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""
