"""commit generation: walks from commit to commit read only what they walk over"""

import re

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

_PARENT = re.compile(rb'^parent ([0-9a-f]{40})$', re.MULTILINE)


def upgrade() -> None:
    op.add_column('commit', sa.Column('generation', sa.BigInteger(), nullable=False, server_default='0'))
    _number()
    op.create_index('ix_commit_generation', 'commit', ['repo_id', 'generation'])


def downgrade() -> None:
    op.drop_index('ix_commit_generation', 'commit')
    op.drop_column('commit', 'generation')


def _number() -> None:
    """1 for commits without parents, else one more than the greatest of the parents."""
    connection = op.get_bind()
    commit = sa.table(
        'commit',
        sa.column('repo_id', sa.BigInteger()),
        sa.column('oid', sa.String()),
        sa.column('body', sa.LargeBinary()),
        sa.column('generation', sa.BigInteger()),
    )
    is_one = (commit.c.repo_id == sa.bindparam('of_repo')) & (commit.c.oid == sa.bindparam('of_oid'))
    write = sa.update(commit).where(is_one).values(generation=sa.bindparam('number'))
    repo_ids = connection.scalars(sa.select(commit.c.repo_id).distinct()).all()
    for repo_id in repo_ids:
        rows = connection.execute(
            sa.select(commit.c.oid, commit.c.body).where(commit.c.repo_id == repo_id)
        )
        parents = {
            oid: [found.decode() for found in _PARENT.findall(body.partition(b'\n\n')[0])]
            for oid, body in rows
        }
        numbers = _generations(parents)
        changes = [
            {'of_repo': repo_id, 'of_oid': oid, 'number': number} for oid, number in numbers.items()
        ]
        for start in range(0, len(changes), 1_000):
            connection.execute(write, changes[start : start + 1_000])


def _generations(parents: dict[str, list[str]]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    stack = list(parents)
    while stack:
        oid = stack[-1]
        lacking = [each for each in parents[oid] if each in parents and each not in numbers]
        if oid in numbers:
            stack.pop()
        elif lacking:
            stack += lacking
        else:
            stack.pop()
            numbers[oid] = 1 + max((numbers.get(each, 0) for each in parents[oid]), default=0)
    return numbers
