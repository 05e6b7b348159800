"""Where a request for a moved repository goes: the same URL with the name of today."""

from collections.abc import Sequence
from urllib.parse import unquote

from fastapi import Request


def moved_location(request: Request, repo_id: str) -> str | None:
    """The request's own path and query with ``repo_id`` in the place of the name it was asked by.

    Relative to the host, as the clients follow no other redirect with their credentials. None if
    the URL does not name the repository (it was in the body).
    """
    asked = request.path_params.get("namespace"), request.path_params.get("name")
    segments = request.scope["raw_path"].decode("ascii").partition("?")[0].split("/")
    namespace, name = repo_id.split("/")
    if asked[0] is None and asked[1] in segments:  # a short name, whose owner is known now
        place = segments.index(asked[1])
        segments[place : place + 1] = [namespace, name]
    elif (place := _find(segments, *asked)) is not None:
        suffix = ".git" if unquote(segments[place + 1]) != asked[1] else ""
        segments[place : place + 2] = [namespace, name + suffix]
    else:
        return None
    query = request.url.query
    return "/".join(segments) + (f"?{query}" if query else "")


def _find(segments: Sequence[str], namespace: str | None, name: str | None) -> int | None:
    """Where in a path the two segments stand; git's URLs have ``.git`` behind the name."""
    for place in range(len(segments) - 1):
        if unquote(segments[place]) == namespace and unquote(segments[place + 1]) in {
            name,
            f"{name}.git",
        }:
            return place
    return None
