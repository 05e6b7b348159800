"""Which names accounts and repositories may have: the rule of the Hugging Face clients."""

import re

from app.errors import InvalidRequest

RESERVED = frozenset(
    [
        "api",
        "buckets",
        "cas",
        "datasets",
        "docs",
        "favicon.ico",
        "families",
        "healthz",
        "kernels",
        "lfs",
        "login",
        "metrics",
        "models",
        "new",
        "oauth",
        "openapi.json",
        "organizations",
        "papers",
        "readyz",
        "resolve-cache",
        "robots.txt",
        "search",
        "settings",
        "spaces",
        "static",
        "uploads",
        "users",
        "v1",
        "v2",
    ]
)
"""First path segments that belong to the hub itself."""

_NAME = re.compile(r"\b[\w\-.]{1,96}\b", re.ASCII)


def check_name(name: str, what: str) -> str:
    """Return ``name``; InvalidRequest if the clients would refuse it (``validate_repo_id``)."""
    allowed = _NAME.fullmatch(name) and "--" not in name and ".." not in name
    if not allowed or name.lower().endswith(".git"):
        raise InvalidRequest(
            f"{what} {name[:100]!r} is not allowed: 1 to 96 characters out of A-Z a-z 0-9 - _ ."
            " that neither start nor end with - or ., without -- or .., not ending in .git"
        )
    return name


def check_account_name(name: str) -> str:
    """Return ``name``; InvalidRequest if no account may be called that."""
    if check_name(name, "account name").lower() in RESERVED:
        raise InvalidRequest(f"account name {name!r} is reserved")
    return name


def name_key(name: str) -> str:
    """What names are looked up by: they resolve case-insensitively."""
    return name.lower()
