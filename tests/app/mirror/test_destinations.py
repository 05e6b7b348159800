"""Where the mirror goes: nowhere that the settings do not name, nor into a network from outside."""

import ipaddress

import pytest
from httpx import URL
from pydantic import ValidationError

from app.errors import UpstreamLied
from app.mirror.destinations import Destinations, is_public
from app.mirror_settings import Mirror
from app.settings import Settings

INNER = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.0.8", "198.18.0.1", "240.0.0.1"),
    *("::", "::1", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::"),
]


def destinations(addresses: list[str], hosts: str = "*.hf.co,inner.lan") -> Destinations:
    settings = Settings(upstream="https://huggingface.co", mirror=Mirror(hosts=hosts))
    return Destinations(settings, lambda _host, _port: addresses)


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_known_in_every_form(address: str):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(UpstreamLied, match="inner address"):
        destinations(["13.32.1.1", address]).addresses(URL("https://cdn.hf.co/x"))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_gone_to(address: str):
    assert destinations([address]).addresses(URL("https://cdn.hf.co/x")) == [address]


@pytest.mark.parametrize("host", ["huggingface.co", "inner.lan"])
def test_what_the_operator_named_in_full_may_be_inside(host: str):
    assert destinations(["10.0.0.1"]).addresses(URL(f"https://{host}/x")) == ["10.0.0.1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://hf.co.evil.example/x",
        "https://evilhf.co/x",
        "https://2130706433/",
        "https://[::1]/",
        "https://user@cdn.hf.co/",
        "https://huggingface.co:8443/x",
        "https://huggingface.co@evil.example/x",
        "ftp://cdn.hf.co/x",
        "file:///etc/passwd",
        "//",
        "http://cdn.hf.co/x",
    ],
)
def test_other_places_are_not_gone_to(url: str):
    with pytest.raises(UpstreamLied):
        destinations([]).check(URL(url), after=URL("https://huggingface.co/a"))


def test_home_is_one_scheme_host_and_port():
    places = destinations([])
    assert places.is_home(URL("https://HuggingFace.co:443/x"))
    for other in ("http://huggingface.co/", "https://huggingface.co:444/", "https://hf.co/"):
        assert not places.is_home(URL(other))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"mirror": {"token": "hf_x"}}, "no upstream"),
        ({"upstream": "http://hub.lan", "mirror": {"token": "hf_x"}}, "in the clear"),
        ({"upstream": "https://a.b", "public_url": "https://a.b/"}, "itself"),
        ({"upstream": "https://user:pw@a.b"}, "upstream"),
        ({"upstream": "ftp://a.b"}, "upstream"),
        ({"upstream": "https://a.b", "mirror": {"fresh": 1}}, "fresh"),
    ],
)
def test_settings_that_make_no_sense_stop_the_start(values: dict[str, object], fault: str):
    with pytest.raises(ValidationError, match=fault):
        Settings.model_validate(values)
