"""verdicts on files that frameworks would unpickle"""

import sqlalchemy as sa
from alembic import op


revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('file_scan',
    sa.Column('file_id', KEY, nullable=False),
    sa.Column('status', sa.String(length=12), nullable=False),
    sa.Column('imports', sa.String(), nullable=False),
    sa.Column('scanned_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("status IN ('safe', 'suspicious', 'unsafe', 'error', 'unscanned')", name=op.f('ck_file_scan_status')),
    sa.ForeignKeyConstraint(['file_id'], ['file.id'], name=op.f('fk_file_scan_file_id_file'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('file_id', name=op.f('pk_file_scan'))
    )


def downgrade() -> None:
    op.drop_table('file_scan')
