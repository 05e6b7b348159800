"""what repos hold of what quotas bound"""

import sqlalchemy as sa
from alembic import op


revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'repo_usage',
        sa.Column('repo_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('nbytes', sa.BigInteger(), nullable=True),
        sa.Column('files', sa.BigInteger(), nullable=True),
        sa.Column('stale', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ['repo_id'], ['repo.id'], name=op.f('fk_repo_usage_repo_id_repo'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('repo_id', name=op.f('pk_repo_usage')),
    )
    op.create_index('ix_repo_usage_stale', 'repo_usage', ['stale'])
    op.execute(
        'INSERT INTO repo_usage (repo_id, nbytes, files, stale) '
        'SELECT id, NULL, NULL, true FROM repo'
    )


def downgrade() -> None:
    op.drop_index('ix_repo_usage_stale', table_name='repo_usage')
    op.drop_table('repo_usage')
