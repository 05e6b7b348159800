"""The composition root: one hub, one FastAPI app."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from app import __version__
from app.api import (
    explaining,
    families,
    git,
    governance,
    health,
    jobs,
    plans,
    stats,
    storage,
    tokens,
    trainers,
)
from app.api.errors import install_error_responses
from app.api.forwarded import Forwarded
from app.api.hf import (
    accounts,
    commit,
    discussions,
    gguf_manifest,
    history,
    info,
    lfs,
    listings,
    one_segment,
    out_of_scope,
    preupload,
    refs,
    repos,
    resolve,
    tensor_headers,
    tree,
    validate,
    visitors,
    whoami,
    xet,
    xet_reads,
)
from app.api.metrics import RequestMetrics, make_registry
from app.api.middleware import JsonBodyLimit, MeterRequests, RequestId
from app.api.mirroring import TellMirror
from app.api.openai import files as tuning_files
from app.api.openai import fine_tuning
from app.api.openapi import document
from app.api.rate_limits import RateLimits
from app.api.route_index import RouteIndex
from app.api.routing import QuotedPath
from app.api.small_files import SmallFiles
from app.hub import Hub
from app.jobs.runner import Runner
from app.mirror.demand import FETCH
from app.mirror.door import Door
from app.mirror.freshness import Mirror
from app.rates.bucket import Buckets
from app.rates.local import LocalBuckets
from app.rates.shared import SharedBuckets
from app.restore.downloads import DownloadCounter
from app.stats import Meter
from app.tasks import HANDLERS, PERIODS
from app.web import commits, docs, files, pages
from app.web import discussions as discussion_pages

ROUTERS = (
    *(health.router, whoami.router, repos.router, preupload.router, commit.router, refs.router),
    *(history.router, xet_reads.router, discussions.router),
    *(tree.router, validate.router, lfs.router, git.router, xet.router, resolve.router),
    *(storage.router, explaining.router, families.router, jobs.router, stats.router),
    plans.router,
    *(tokens.router, governance.router),
    *(tuning_files.router, fine_tuning.router, trainers.router),
    *(
        accounts.router,
        visitors.router,
        tensor_headers.router,
        gguf_manifest.router,
        out_of_scope.router,
    ),
    # Wide patterns last: api/{type}/{namespace}/{name}, then ids of one segment, then pages.
    *(listings.router, info.router, one_segment.router, docs.router),
    # A repo's own page before those below it: one may be called like them.
    *(pages.router, files.router, commits.router, discussion_pages.router),
)
ROUTES = RouteIndex(
    [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
)


def create_app(hub: Hub) -> FastAPI:
    """The HTTP front of a hub. The caller opens and closes the hub; jobs run while the app does."""
    downloads = DownloadCounter(hub)
    meter = Meter(hub)
    registry = make_registry(hub, meter)
    mirror = None if hub.settings.upstream is None else Mirror(hub, Door(hub.settings))

    buckets = _buckets(hub)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runners = list(_runners(hub))
        for runner in runners:
            runner.start()
        try:
            yield
        finally:
            for runner in runners:
                await run_in_threadpool(runner.stop)
            await run_in_threadpool(downloads.flush)
            await run_in_threadpool(meter.close)
            if isinstance(buckets, SharedBuckets):
                await buckets.aclose()
            if mirror is not None:
                mirror.close()

    app = FastAPI(
        title="Clade",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.hub = hub
    app.state.routes = ROUTES
    app.state.small_files = SmallFiles(hub)
    app.state.downloads = downloads
    app.state.meter = meter
    app.state.mirror = mirror
    app.state.metrics_registry = registry
    # The last one added sees a request first.
    app.add_middleware(JsonBodyLimit, limits=hub.settings.limits)
    app.add_middleware(QuotedPath)
    app.add_middleware(TellMirror)
    app.add_middleware(RateLimits, rates=hub.settings.rates, buckets=buckets)
    app.add_middleware(
        MeterRequests, metrics=RequestMetrics(registry), logs=hub.settings.log_requests
    )
    app.add_middleware(RequestId)
    app.add_middleware(Forwarded, settings=hub.settings)
    install_error_responses(app)
    app.router.routes.append(ROUTES)
    app.openapi = cache(lambda: document(app, ROUTES.routes))
    return app


def _buckets(hub: Hub) -> Buckets:
    url = hub.settings.rates.redis_url
    return LocalBuckets() if url is None else SharedBuckets(url.get_secret_value())


def _runners(hub: Hub) -> Iterator[Runner]:
    """Run jobs in this process, unless workers or nobody should; a mirror's fetches in any case.

    Those are waited for by somebody who reads: they have threads of their own.
    """
    settings = hub.settings.jobs
    if settings.broker_url is None and settings.threads:
        kinds = HANDLERS.keys() - {FETCH} if hub.settings.upstream else None
        yield Runner(hub, HANDLERS, settings.threads, periods=PERIODS, kinds=kinds)
    if hub.settings.upstream is not None:
        yield Runner(hub, HANDLERS, hub.settings.mirror.downloads, kinds={FETCH})
