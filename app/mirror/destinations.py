"""Where the mirror may connect to: the upstream itself and the hosts that it may send us to.

A host is resolved once and the connection made to the very address that was looked at, so that a
name that answers otherwise the second time (DNS rebinding) gains nothing.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from httpx import URL

from app.errors import UpstreamDown, UpstreamLied
from app.settings import Settings

Resolve = Callable[[str, int], Sequence[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IETF = ipaddress.ip_network("192.0.0.0/24")
"""RFC 6890: not public as a whole, whatever single addresses Python thinks are."""

_PORTS = {"http": 80, "https": 443}


def patterns(text: str) -> list[str]:
    """Shell patterns joined by commas, in lower case."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Addresses of a host. Raises UpstreamDown if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UpstreamDown(f"the host {host} is not found: {error}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Destinations:
    """Decides on URLs and addresses by the settings ``upstream`` and ``mirror.hosts``."""

    def __init__(self, settings: Settings, resolve: Resolve = resolve_by_system) -> None:
        assert settings.upstream is not None
        self._home = URL(settings.upstream)
        self._allowed = patterns(settings.mirror.hosts)
        self._resolve = resolve

    def is_home(self, url: URL) -> bool:
        """Whether a URL is on the upstream itself: same scheme, host and port."""
        return origin(url) == origin(self._home)

    def check(self, url: URL, *, after: URL | None = None) -> None:
        """Raise UpstreamLied unless the mirror may go there, sent by the page ``after``."""
        if self.is_home(url):
            return
        if url.scheme not in _PORTS or not url.host or url.userinfo:
            raise UpstreamLied(f"the upstream sends us to {_shown(url)}, which is no place to go")
        if after is not None and after.scheme == "https" and url.scheme != "https":
            raise UpstreamLied(f"the upstream sends us from https to {_shown(url)}")
        if not any(fnmatchcase(url.host.lower(), pattern) for pattern in self._allowed):
            raise UpstreamLied(
                f"the upstream sends us to {_shown(url)}; if that is right, add the host to"
                " mirror.hosts"
            )

    def addresses(self, url: URL) -> Sequence[str]:
        """Where to connect for a URL that was checked. Raises UpstreamLied, UpstreamDown."""
        port = url.port or _PORTS[url.scheme]
        found = self._resolve(url.host, port)
        if url.host != self._home.host and url.host.lower() not in self._allowed:
            for address in found:
                if not is_public(ipaddress.ip_address(address.partition("%")[0])):
                    raise UpstreamLied(
                        f"the upstream sends us to {url.host}, which is at {address}, an inner"
                        " address; if that is right, name the host in full in mirror.hosts"
                    )
        return found


def is_public(address: Address) -> bool:
    """Whether an address, or the one that is wrapped in it, is on the public Internet."""
    inner: Any = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast and address not in _IETF


def origin(url: URL) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL: what a secret for one place may not leave."""
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)


def _shown(url: URL) -> str:
    """A URL without what may be secret in it."""
    return f"{url.scheme}://{url.host[:100]}{f':{url.port}' if url.port else ''}"
