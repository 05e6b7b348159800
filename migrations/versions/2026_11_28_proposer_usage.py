"""what accounts have in pull requests to others' repositories"""

import sqlalchemy as sa
from alembic import op


revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'proposer_usage',
        sa.Column(
            'account_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False
        ),
        sa.Column('nbytes', sa.BigInteger(), nullable=True),
        sa.Column('stale', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ['account_id'],
            ['account.id'],
            name=op.f('fk_proposer_usage_account_id_account'),
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('account_id', name=op.f('pk_proposer_usage')),
    )


def downgrade() -> None:
    op.drop_table('proposer_usage')
