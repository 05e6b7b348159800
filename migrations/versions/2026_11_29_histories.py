"""what histories hold, kept up; when a repo may be indexed again; whose trees name a file"""

import sqlalchemy as sa
from alembic import op


revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('repo_usage', sa.Column('history_nbytes', sa.BigInteger(), nullable=True))
    # Counted by the job that indexes a repo, at the latest by the next collection.
    op.execute(sa.text('UPDATE repo_usage SET stale = true'))
    op.add_column('repo_card', sa.Column('rests_until', sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table('repo_card') as table:
        table.drop_column('used_nbytes')
    _name_readers(['file_id', 'repo_id'])


def downgrade() -> None:
    _name_readers(['file_id'])
    used = sa.Column('used_nbytes', sa.BigInteger(), nullable=False, server_default='0')
    op.add_column('repo_card', used)
    op.execute(
        'UPDATE repo_card SET used_nbytes = COALESCE((SELECT history_nbytes FROM repo_usage '
        'WHERE repo_usage.repo_id = repo_card.repo_id), 0)'
    )
    with op.batch_alter_table('repo_card') as table:
        table.drop_column('rests_until')
    with op.batch_alter_table('repo_usage') as table:
        table.drop_column('history_nbytes')


def _name_readers(columns: list[str]) -> None:
    op.drop_index('ix_tree_entry_file', table_name='tree_entry')
    op.create_index('ix_tree_entry_file', 'tree_entry', columns)
