"""All routes as one: of a hundred, a request tries those whose words occur in its path.

Starlette tries one route after the other, and FastAPI those of included routers twice, which takes
as long as answering. Here each is filed under the rarest of its words: what stands between two
slashes of its path and is no parameter. It can only match a path that has this word as a segment.
"""

from collections import Counter
from collections.abc import Sequence

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.api.routing import hub_path

NO_WORD = ""
"""Every path has it in front of its first slash."""


class RouteIndex(BaseRoute):
    """The routes, in whose order the first that takes a request answers it."""

    def __init__(self, routes: Sequence[APIRoute]) -> None:
        self.routes = routes
        words = [_words(route) for route in routes]
        shared = Counter(word for each in words for word in each)
        self._filed: dict[str, list[tuple[int, APIRoute]]] = {}
        for place, (route, each) in enumerate(zip(routes, words, strict=True)):
            word = min(each, key=lambda word: (shared[word], word), default=NO_WORD)
            self._filed.setdefault(word, []).append((place, route))

    def candidates(self, path: str) -> list[APIRoute]:
        """The routes that may match a path, in their order."""
        filed = (self._filed.get(word, ()) for word in {*path.split("/")})
        return [route for _, route in sorted(each for some in filed for each in some)]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the first route that takes the request, else the first that takes its path."""
        if scope["type"] != "http":
            return Match.NONE, {}
        partial: Scope | None = None
        for route in self.candidates(hub_path(scope)):
            match, found = route.matches(scope)
            if match is Match.FULL:
                return match, found
            if match is Match.PARTIAL and partial is None:
                partial = found
        return (Match.NONE, {}) if partial is None else (Match.PARTIAL, partial)

    def methods(self, scope: Scope) -> set[str]:
        """What is allowed on the path of a request, by all routes that take it."""
        routes = self.candidates(hub_path(scope))
        takers = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        return {method for route in takers for method in route.methods or ()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the route that matched, which Starlette has put into the scope."""
        await scope["route"].handle(scope, receive, send)


def _words(route: APIRoute) -> set[str]:
    segments = route.path_format.split("/")[1:]
    return {segment for segment in segments if segment and "{" not in segment}
