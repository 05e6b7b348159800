"""Addresses, and networks that they are in, as settings name them."""

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

LONGEST = 100
"""Letters of an address; every request brings one or several, most of them again and again."""

Networks = list[IPv4Network | IPv6Network]


def parse_networks(text: str) -> Networks:
    """Networks joined by commas; ``*`` is all there are. Raises ValueError."""
    parts = [part.strip() for part in text.replace("*", "0.0.0.0/0,::/0").split(",")]
    return [ip_network(part, strict=False) for part in parts if part]


def is_within(text: str, networks: Networks) -> bool:
    """Whether a text is an address in one of the networks; IPv4 in IPv6 is IPv4."""
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, None for what is none."""
    return _parse(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=4_096)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
