"""commit dates: logs are read newest first, a page at a time, whatever clocks said"""

import re

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

_PARENT = re.compile(rb'^parent ([0-9a-f]{40})$', re.MULTILINE)


def upgrade() -> None:
    with op.batch_alter_table('commit') as batch_op:
        batch_op.add_column(sa.Column('dated_at', sa.DateTime(timezone=True), nullable=True))
    _date()
    with op.batch_alter_table('commit') as batch_op:
        batch_op.alter_column('dated_at', nullable=False)


def downgrade() -> None:
    with op.batch_alter_table('commit') as batch_op:
        batch_op.drop_column('dated_at')


def _date() -> None:
    """The latest of a commit's own time and its parents'; parents are of lower generations."""
    connection = op.get_bind()
    commit = sa.table(
        'commit',
        sa.column('repo_id', sa.BigInteger()),
        sa.column('oid', sa.String()),
        sa.column('body', sa.LargeBinary()),
        sa.column('created_at', sa.DateTime(timezone=True)),
        sa.column('dated_at', sa.DateTime(timezone=True)),
        sa.column('generation', sa.BigInteger()),
    )
    connection.execute(sa.update(commit).values(dated_at=commit.c.created_at))
    is_one = (commit.c.repo_id == sa.bindparam('of_repo')) & (commit.c.oid == sa.bindparam('of_oid'))
    write = sa.update(commit).where(is_one).values(dated_at=sa.bindparam('date'))
    repo_ids = connection.scalars(sa.select(commit.c.repo_id).distinct()).all()
    for repo_id in repo_ids:
        rows = connection.execute(
            sa.select(commit.c.oid, commit.c.body, commit.c.created_at)
            .where(commit.c.repo_id == repo_id)
            .order_by(commit.c.generation)
        )
        dates = {}
        changes = []
        for oid, body, created_at in rows:
            parents = _PARENT.findall(body.partition(b'\n\n')[0])
            known = [dates[each] for parent in parents if (each := parent.decode()) in dates]
            dates[oid] = max([created_at, *known])
            if dates[oid] != created_at:
                changes.append({'of_repo': repo_id, 'of_oid': oid, 'date': dates[oid]})
        for start in range(0, len(changes), 1_000):
            connection.execute(write, changes[start : start + 1_000])
