"""A line to a server: TCP connections that carry so many bytes a second each, and no more."""

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STEP_NBYTES = 256 << 10


@contextmanager
def line_to(port: int, nbytes_s: int) -> Iterator[str]:
    """URL of a way to a local port; every connection brings ``nbytes_s`` bytes a second back."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    process = multiprocessing.Process(target=_serve, args=(listener, port, nbytes_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        process.terminate()
        process.join()
        listener.close()


def _serve(listener: socket.socket, port: int, nbytes_s: int) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for source, target, pace in ((client, server, 0), (server, client, nbytes_s)):
            threading.Thread(target=_carry, args=(source, target, pace), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket, nbytes_s: int) -> None:
    """Pass bytes on until either side closes; at a pace, if there is one."""
    buffer = bytearray(STEP_NBYTES)
    due = time.monotonic()
    with suppress(OSError):
        while nbytes := source.recv_into(buffer):
            target.sendall(memoryview(buffer)[:nbytes])
            if nbytes_s:
                due = max(due, time.monotonic() - 0.1) + nbytes / nbytes_s
                time.sleep(max(0.0, due - time.monotonic()))
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
