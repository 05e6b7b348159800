"""which bytes of awaited files somebody reads, to be fetched first, and digests of their parts"""

import sqlalchemy as sa
from alembic import op


revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('awaited_range',
    sa.Column('repo_id', BIG_KEY, autoincrement=False, nullable=False),
    sa.Column('oid', sa.String(length=40), nullable=False),
    sa.Column('start', BIG_KEY, autoincrement=False, nullable=False),
    sa.Column('stop', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['repo_id', 'oid'], ['awaited_file.repo_id', 'awaited_file.oid'], name=op.f('fk_awaited_range_repo_id_oid_awaited_file'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('repo_id', 'oid', 'start', name=op.f('pk_awaited_range'))
    )
    # Parts without a digest are fetched again; the collector finds their objects.
    op.execute('DELETE FROM awaited_part')
    with op.batch_alter_table('awaited_part') as batch_op:
        batch_op.add_column(sa.Column('digest', sa.LargeBinary(), nullable=False))


def downgrade() -> None:
    op.drop_column('awaited_part', 'digest')
    op.drop_table('awaited_range')
