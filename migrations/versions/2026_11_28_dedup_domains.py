"""dedup domains: files and contents are unique within one

What is stored already is everybody's: domain 0.
"""

import sqlalchemy as sa
from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('account') as batch_op:
        batch_op.add_column(sa.Column('dedup', sa.String(length=12), nullable=True))
        batch_op.create_check_constraint(op.f('ck_account_dedup'), "dedup IN ('namespace', 'hub')")
    with op.batch_alter_table('file') as batch_op:
        batch_op.add_column(_domain())
        batch_op.drop_constraint(op.f('uq_file_sha256'), type_='unique')
        batch_op.create_unique_constraint(op.f('uq_file_domain_sha256'), ['domain', 'sha256'])
        batch_op.create_index('ix_file_sha256', ['sha256'])
    with op.batch_alter_table('content') as batch_op:
        batch_op.add_column(_domain())
        batch_op.drop_constraint(op.f('uq_content_digest'), type_='unique')
        batch_op.create_unique_constraint(op.f('uq_content_domain_digest'), ['domain', 'digest'])


def _domain() -> sa.Column:
    return sa.Column('domain', sa.BigInteger(), server_default='0', nullable=False)


def downgrade() -> None:
    """Fails where two domains hold the same bytes: the old schema cannot say so."""
    with op.batch_alter_table('content') as batch_op:
        batch_op.drop_constraint(op.f('uq_content_domain_digest'), type_='unique')
        batch_op.create_unique_constraint(op.f('uq_content_digest'), ['digest'])
        batch_op.drop_column('domain')
    with op.batch_alter_table('file') as batch_op:
        batch_op.drop_index('ix_file_sha256')
        batch_op.drop_constraint(op.f('uq_file_domain_sha256'), type_='unique')
        batch_op.create_unique_constraint(op.f('uq_file_sha256'), ['sha256'])
        batch_op.drop_column('domain')
    with op.batch_alter_table('account') as batch_op:
        batch_op.drop_constraint(op.f('ck_account_dedup'), type_='check')
        batch_op.drop_column('dedup')
