"""Downloads counted in memory and written down now and then: a read causes no write."""

import threading
from collections import Counter, OrderedDict
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.tables import Repo
from app.hub import Hub

ONE_DOWNLOAD_S = 300
"""Files that one client takes from a repo within this time are one download."""

FLUSH_S = 30
"""Longest time between a count and its writing, while downloads go on."""

REMEMBERED = 10_000
"""Clients remembered at once."""


class DownloadCounter:
    """Counts downloads per repo. Thread-safe; a crash loses half a minute of counts."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()
        self._seen: OrderedDict[tuple[int, str], datetime] = OrderedDict()
        self._flushed_at = hub.clock.now()

    def note(self, repo_id: int, client: str) -> None:
        """A client fetched a file."""
        now = self._hub.clock.now()
        with self._lock:
            last = self._seen.pop((repo_id, client), None)
            self._seen[repo_id, client] = now
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            if last is None or now - last > timedelta(seconds=ONE_DOWNLOAD_S):
                self._counts[repo_id] += 1
            due = now - self._flushed_at > timedelta(seconds=FLUSH_S)
        if due:
            self.flush()

    def flush(self) -> None:
        """Write the counts so far."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._flushed_at = self._hub.clock.now()
        if not counts:
            return

        def work(session: Session) -> None:
            for repo_id in sorted(counts):
                session.execute(
                    update(Repo)
                    .where(Repo.id == repo_id)
                    .values(downloads=Repo.downloads + counts[repo_id])
                )

        self._hub.db.run(work)
