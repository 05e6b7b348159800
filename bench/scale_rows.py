"""Rows of a hub that nobody filled: repositories of a hundred files each, made inside PostgreSQL.

What the database holds for ``n`` files is what uploads would have left there: true foreign keys,
unique digests, packs of ten contents. The bytes are not there; nothing that reads them is measured
on such a hub.
"""

import json
import time
from dataclasses import asdict

import psycopg

from app.catalog.tags import CardFacts

FILES_PER_REPO = 100
CONTENTS_PER_OBJECT = 10
NAMESPACE = "scale"
TELLING_S = 11.0
"""Idle backends of PostgreSQL 15 and later report what they read within ten seconds."""

FIRST_ID = 1_000_000_000
"""Ids of our rows begin here, far above those that the hub's own sequences give meanwhile."""

ROWS = (
    """
    INSERT INTO repo (id, type, namespace_id, name, key, private, downloads, likes, created_at,
                      updated_at)
    SELECT r, 'model', account.id, 'model-' || r, 'model/scale/model-' || r, false, 0, 0, now(),
           now() - r * interval '1 second'
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r, account
    WHERE account.key = 'scale'
    """,
    """
    INSERT INTO repo_usage (repo_id, nbytes, files, history_nbytes, stale)
    SELECT r, 100 * 1000, 100, 100 * 1000, false
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r
    """,
    """
    INSERT INTO tree (repo_id, oid)
    SELECT r, left(encode(sha256(('tree' || r)::bytea), 'hex'), 40)
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r
    """,
    """
    INSERT INTO commit (repo_id, oid, tree_oid, body, title, message, author_name, created_at,
                        dated_at, generation)
    SELECT r, left(encode(sha256(('commit' || r)::bytea), 'hex'), 40),
           left(encode(sha256(('tree' || r)::bytea), 'hex'), 40), '', 'Add files', '', 'scale',
           now(), now(), 1
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r
    """,
    """
    INSERT INTO ref (repo_id, name, commit_oid)
    SELECT r, 'refs/heads/main', left(encode(sha256(('commit' || r)::bytea), 'hex'), 40)
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r
    """,
    """
    INSERT INTO repo_card (repo_id, commit_oid, facts, parameter_count)
    SELECT r, left(encode(sha256(('commit' || r)::bytea), 'hex'), 40), %(facts)s, NULL
    FROM generate_series(%(first_repo)s::bigint, %(last_repo)s) r
    """,
    """
    INSERT INTO object (id, key, purpose, state, nbytes, created_at, attempts)
    SELECT %(id)s + o, 'o/scale/rows/' || o, 'pack', 'live', 10000, now() - interval '30 days', 0
    FROM generate_series(%(first_object)s::bigint, %(last_object)s) o
    """,
    """
    INSERT INTO file (id, sha256, size, git_oid, format, state, health, created_at)
    SELECT %(id)s + f, sha256(('file' || f)::bytea), 1000,
           left(encode(sha256(('blob' || f)::bytea), 'hex'), 40), 'opaque', 'live', 'ok',
           now() - interval '30 days'
    FROM generate_series(%(first_file)s::bigint, %(last_file)s) f
    """,
    """
    INSERT INTO content (id, digest, nbytes, state, health, created_at)
    SELECT %(id)s + f, '\\x1e'::bytea || sha256(('content' || f)::bytea), 1000, 'live', 'ok',
           now() - interval '30 days'
    FROM generate_series(%(first_file)s::bigint, %(last_file)s) f
    """,
    """
    INSERT INTO segment (file_id, start, nbytes, content_id, role)
    SELECT %(id)s + f, 0, 1000, %(id)s + f, 'literal'
    FROM generate_series(%(first_file)s::bigint, %(last_file)s) f
    """,
    """
    INSERT INTO encoding (content_id, codec, object_id, start, nbytes, checks, final, encoder,
                          created_at)
    SELECT %(id)s + f, 'raw', %(id)s + (f - 1) / 10 + 1, (f - 1) %% 10 * 1000, 1000,
           left(encode(sha256('check'), 'hex'), 16)::bytea, true, 99, now() - interval '30 days'
    FROM generate_series(%(first_file)s::bigint, %(last_file)s) f
    """,
    """
    INSERT INTO tree_entry (repo_id, tree_oid, name, mode, oid, file_id, size, is_lfs)
    SELECT (f - 1) / 100 + 1,
           left(encode(sha256(('tree' || (f - 1) / 100 + 1)::bytea), 'hex'), 40),
           'file-' || (f - 1) %% 100, '100644',
           left(encode(sha256(('blob' || f)::bytea), 'hex'), 40), %(id)s + f, 1000, false
    FROM generate_series(%(first_file)s::bigint, %(last_file)s) f
    """,
)


def grow(url: str, *, before: int, files: int) -> None:
    """Add rows to a database that has ``before`` files of ours, so that it has ``files``, or none.

    Both are multiples of a hundred; the account ``scale`` exists. Foreign keys hold by
    construction and are not checked while the rows go in.
    """
    bounds = {
        "id": FIRST_ID,
        "facts": json.dumps(asdict(CardFacts()) | {"parameters": {}}),
        "first_repo": before // FILES_PER_REPO + 1,
        "last_repo": files // FILES_PER_REPO,
        "first_object": before // CONTENTS_PER_OBJECT + 1,
        "last_object": files // CONTENTS_PER_OBJECT,
        "first_file": before + 1,
        "last_file": files,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        with connection.transaction():
            for statement in ROWS:
                connection.execute(statement, bounds)


def analyze(url: str) -> None:
    """Let PostgreSQL look at what there is now."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def count_files(url: str) -> int:
    """Files of ours that a database has."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('file')").fetchone() == (None,):
            return 0
        row = connection.execute("SELECT max(id) FROM file WHERE id > %s", [FIRST_ID]).fetchone()
    return 0 if row is None or row[0] is None else row[0] - FIRST_ID


def table_nbytes(url: str) -> list[tuple[str, int]]:
    """Bytes of the tables that grow with files, indexes included, largest first."""
    query = """
        SELECT relname, pg_total_relation_size(oid) FROM pg_class
        WHERE relname IN ('repo', 'tree', 'commit', 'ref', 'object', 'file', 'content', 'segment',
                          'encoding', 'tree_entry')
        ORDER BY 2 DESC
    """
    with psycopg.connect(url) as connection:
        return list(connection.execute(query))


def pages_touched(url: str) -> int:
    """Pages that this database has read so far, from memory or disk, once its backends told."""
    time.sleep(TELLING_S)
    query = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
