"""What honest clients get while a hub is strained: slow sockets, slow readers, encoding, a crowd.

One server with its jobs in the same process. Honest clients ask for a tree and for a file by turns;
every strain is compared with the same time without one right before it. Nobody is refused by rates
here: what is seen is the server's own behaviour. Clients take the processor as the server does;
``--pin`` gives each side cores of its own, so that a crowd of clients takes none of the server's.
"""

import argparse
import contextlib
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.corpus import NAMESPACE
from bench.hub import TOKEN, LiveHub, workspace
from bench.report import median, percentile, print_table, ratio
from bench.synthetic import DRIFT, SyntheticModel

REPO, WEIGHTS = f"{NAMESPACE}/honest", "model.safetensors"
HONEST = 4
SLOW_SOCKETS = 2000
SLOW_READERS = 200
CROWD = 10 * HONEST
OTHER = "hf_bench_the_others_0123456789"
UNLIMITED = {"rates__api": "0", "rates__resolvers": "0"}


@dataclass
class Answers:
    """What a group of clients got."""

    seconds: list[float] = field(default_factory=list)
    """Of those that were answered."""
    refused: list[float] = field(default_factory=list)
    """Of those told to come again, with a word on when."""
    faults: int = 0
    """Anything else."""

    def add(self, other: "Answers") -> None:
        self.seconds += other.seconds
        self.refused += other.refused
        self.faults += other.faults


def ask(url: str, token: str, seconds: float) -> Answers:
    """One client that asks as fast as it is answered."""
    answers, ends = Answers(), time.perf_counter() + seconds
    paths = [f"/api/models/{REPO}/tree/main", f"/{REPO}/resolve/main/README.md"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
        for number in range(1 << 30):
            began = time.perf_counter()
            if began > ends:
                return answers
            try:
                answer = http.get(paths[number % 2])
            except httpx.TransportError:
                answers.faults += 1
                continue
            took = time.perf_counter() - began
            if answer.is_success:
                answers.seconds.append(took)
            elif answer.status_code in {429, 503} and "retry-after" in answer.headers:
                answers.refused.append(took)
                time.sleep(0.05)
            else:
                answers.faults += 1
    raise AssertionError


def many(url: str, token: str, seconds: float, clients: int) -> Answers:
    """So many clients at once, on threads of this process."""
    total, lock = Answers(), threading.Lock()

    def one() -> None:
        mine = ask(url, token, seconds)
        with lock:
            total.add(mine)

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total


Strain = Callable[[LiveHub], contextlib.AbstractContextManager[Answers | None]]
"""A strain while it lasts; afterwards it knows what its own clients got, if they are not slow."""


def pin(hub: LiveHub) -> None:
    """The server on the first core, whoever asks on the others."""
    assert hub.process is not None
    first, *others = sorted(os.sched_getaffinity(0))
    for task in Path(f"/proc/{hub.process.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {first})
    os.sched_setaffinity(0, others)


@contextlib.contextmanager
def slow_sockets(hub: LiveHub) -> Iterator[None]:
    """Connections that begin a request and send a byte of it now and then."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(hub.url.rpartition(":")[2]))
        sockets = [
            stack.enter_context(socket.create_connection(address)) for _ in range(SLOW_SOCKETS)
        ]
        for each in sockets:
            each.sendall(b"GET / HTTP/1.1\r\nHost: hub\r\nX-Slow: ")
        stopping = threading.Event()

        def drip() -> None:
            while not stopping.wait(2):
                for each in sockets:
                    with contextlib.suppress(OSError):
                        each.send(b"a")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


@contextlib.contextmanager
def slow_readers(hub: LiveHub) -> Iterator[None]:
    """Downloads of a large file of which nobody takes more than the first bytes."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(hub.url.rpartition(":")[2]))
        for number in range(SLOW_READERS):
            taker = stack.enter_context(socket.create_connection(address))
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            token = TOKEN if number % 2 else OTHER
            head = f"GET /{REPO}/resolve/main/{WEIGHTS} HTTP/1.1\r\nHost: hub\r\n"
            taker.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        time.sleep(1)
        yield


@contextlib.contextmanager
def encoding(hub: LiveHub) -> Iterator[None]:
    """Fine-tunes that wait for the encoder, more than it gets through meanwhile."""
    for number in range(3):
        model = SyntheticModel(96 << 20, 0, DRIFT, number + 1)
        push(hub, f"{NAMESPACE}/tune{number}", model)
    yield
    hub.settle()


@contextlib.contextmanager
def crowd(hub: LiveHub, seconds: float) -> Iterator[Answers]:
    """Ten times as many clients of somebody else's."""
    total = Answers()
    with multiprocessing.Pool(4) as pool:
        asked = [
            pool.apply_async(many, (hub.url, OTHER, seconds + 1, CROWD // 4)) for _ in range(4)
        ]
        time.sleep(0.5)
        yield total
        for each in asked:
            total.add(each.get())


def push(hub: LiveHub, repo: str, model: SyntheticModel) -> None:
    """A repository with a model and a README."""
    folder = hub.root / "push"
    folder.mkdir(exist_ok=True)
    with (folder / WEIGHTS).open("wb") as file:
        for part in model.stream():
            file.write(part)
    (folder / "README.md").write_text("# A model\n")
    hub.client().upload(repo, folder, "lfs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.strain", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 s for each instead of 20 s")
    parser.add_argument("--pin", action="store_true", help="a core for the server alone")
    arguments = parser.parse_args()
    seconds = 5.0 if arguments.quick else 20.0
    strains: dict[str, Strain] = {
        f"{SLOW_SOCKETS} slow sockets": slow_sockets,
        f"{SLOW_READERS} slow readers": slow_readers,
        "encoding": encoding,
        f"{CROWD} clients of another": lambda hub: crowd(hub, seconds),
    }
    with workspace() as directory, LiveHub(directory / "hub", UNLIMITED) as hub:
        if arguments.pin:
            pin(hub)
        rows = run(hub, strains, seconds)
    cores = "a core for the server alone" if arguments.pin else f"{os.cpu_count()} cores for all"
    print_table(
        f"{HONEST} honest clients, {seconds:.0f} s each, {cores}",
        [
            "strain",
            "answers/s",
            "/ before",
            "p50 ms",
            "p99",
            "/ before",
            "all/s",
            "/ before",
            "CPU ms",
            "/ before",
            "refused",
            "faults",
            "MiB",
        ],
        rows,
        "Before: without a strain, right before it. All: answers to whoever asks, who is not slow."
        " CPU: of the server, for each of them. MiB: the server's peak while it lasts.",
    )


def run(hub: LiveHub, strains: dict[str, Strain], seconds: float) -> list[list[str]]:
    """A row for each strain."""
    hub.clade("user", "create", "others", "--token", OTHER)
    push(hub, REPO, SyntheticModel(96 << 20))
    hub.settle()
    many(hub.url, TOKEN, 2, HONEST)
    rows: list[list[str]] = []
    for name, strain in strains.items():
        begun_s = hub.cpu_s()
        before = many(hub.url, TOKEN, seconds, HONEST)
        before_s = hub.cpu_s()
        with strain(hub) as others:
            hub.reset_peak()
            strained_s = hub.cpu_s()
            got = many(hub.url, TOKEN, seconds, HONEST)
            took_s = hub.cpu_s() - strained_s
            peak = hub.peak_nbytes() >> 20
        if others is None:
            others = Answers()
        before_each = (before_s - begun_s) / len(before.seconds)
        answered = len(got.seconds) + len(others.seconds) * seconds / (seconds + 1)
        rows.append(
            [
                name,
                f"{len(got.seconds) / seconds:.0f}",
                ratio(len(got.seconds), len(before.seconds)),
                f"{median(got.seconds) * 1e3:.1f}",
                f"{percentile(got.seconds, 99) * 1e3:.1f}",
                ratio(percentile(got.seconds, 99), percentile(before.seconds, 99)),
                f"{answered / seconds:.0f}",
                ratio(answered, len(before.seconds)),
                f"{took_s / answered * 1e3:.2f}",
                ratio(took_s / answered, before_each),
                str(len(got.refused) + len(others.refused)),
                str(got.faults + others.faults),
                str(peak),
            ]
        )
    return rows


if __name__ == "__main__":
    main()
