"""Odd and hostile inputs by the number: paths, texts, places to ask, tensors."""

import ipaddress
import random
from collections.abc import Callable

import numpy as np
import pytest
from httpx import URL

import codec
from app.errors import UpstreamLied
from app.mirror.destinations import is_public
from codec.elements.dtypes import DType
from tests.app.catalog.test_paths import ODD, stays_inside
from tests.app.mirror.test_destinations import destinations
from tests.app.web.test_markdown import HOSTILE, MARKS, assert_plain, rendered
from tests.codec import tensors
from tests.torture.budget import budget, told

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(0)]

Tell = Callable[[str], None]

PARTS = [*ODD, "..", ".git", "git~1", "CON", "aux", "x", "dir", "\u202e", "\ufeff", "//", "C:", "é"]

INNER_NETWORKS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
]
"""Source: IANA's registry of special-purpose addresses, and multicast."""

ALONE, ON_A_BASE = ("RAW", "ZSTD", "PLANE"), ("BITX", "CTX")
CONTEXTUAL = ("BF16", "F16", "F32", "C64")
COUNTS = (0, 1, 7, 64, 255, 1000, 2048)


def test_no_path_leads_outside(tell: Tell):
    with told("paths", tell) as summary:
        draws = random.Random(summary.seed)
        for _ in range(budget("PATHS", short=20_000, long=1_000_000)):
            allowed = stays_inside("".join(draws.choices(PARTS, k=draws.randint(1, 12))))
            summary.count("allowed" if allowed else "refused")


def test_no_text_runs(tell: Tell):
    """Of READMEs, whose marks are the only ones that become HTML."""
    with told("texts", tell) as summary:
        draws = random.Random(summary.seed)
        for _ in range(budget("TEXTS", short=300, long=20_000)):
            parts = draws.choices([*HOSTILE, *MARKS], k=draws.randint(1, 12))
            assert_plain(rendered("".join(parts)))
            summary.count("texts")


def test_no_name_leads_into_the_network(tell: Tell):
    """An allowed name that resolves to an inner address, and inner addresses as names."""
    with told("places", tell) as summary:
        draws = random.Random(summary.seed)
        for _ in range(budget("PLACES", short=100, long=5_000)):
            network = ipaddress.ip_network(draws.choice(INNER_NETWORKS))
            inner = network[draws.randrange(network.num_addresses)]
            for form in forms_of(inner):
                assert not is_public(ipaddress.ip_address(form))
                with pytest.raises(UpstreamLied):
                    destinations(["8.8.8.8", form]).addresses(URL("https://cdn.hf.co/x"))
                host = f"[{form}]" if ":" in form else form
                with pytest.raises(UpstreamLied):
                    destinations([form]).check(URL(f"https://{host}/x"))
                summary.count("refused")


def forms_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    """As it is, and wrapped: mapped, by NAT64, by 6to4."""
    number = int(address)
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | number << 80)
    nat64 = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    return [str(address), f"::ffff:{address}", str(nat64), str(sixtofour)]


def test_every_tensor_comes_back(tell: Tell):
    """Of every type and codec: weights, their fine-tunes, the worst bytes, odd lengths."""
    with told("tensors", tell) as summary:
        draws = random.Random(summary.seed)
        for _ in range(budget("TENSORS", short=500, long=100_000)):
            data, base = tensor(draws)
            name = draws.choice([*ALONE, *ON_A_BASE, "auto"])
            dtype = draws.choice(CONTEXTUAL if name == "CTX" else list(DType.__members__))
            below = None if name in ALONE else base
            frame = codec.encode(data, dtype=dtype, base=below, codec=name)
            assert codec.decode(frame, base=below).tobytes() == data
            summary.count(name)


def tensor(draws: random.Random) -> tuple[bytes, bytes]:
    """Bytes of a tensor and of a base for it."""
    dtype, count = draws.choice(tensors.FLOATS), draws.choice(COUNTS)
    base, tuned = tensors.pair(dtype, count, seed=draws.randrange(1 << 30))
    if draws.random() < 0.2:
        tuned = np.resize(tensors.awkward(dtype), count)
    odd = draws.randrange(4) if draws.random() < 0.3 else 0
    return tuned.tobytes() + bytes(odd), base.tobytes() + bytes(draws.randrange(3))
