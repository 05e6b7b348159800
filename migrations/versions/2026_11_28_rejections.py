"""regroupings that were coded and did not pay"""

import sqlalchemy as sa
from alembic import op


revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'rejection',
        sa.Column('key', sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            'content_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False
        ),
        sa.Column('saving_nbytes', sa.BigInteger(), nullable=False),
        sa.Column('was_nbytes', sa.BigInteger(), nullable=False),
        sa.Column('found_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['content_id'],
            ['content.id'],
            name=op.f('fk_rejection_content_id_content'),
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('key', name=op.f('pk_rejection')),
    )
    op.create_index('ix_rejection_content', 'rejection', ['content_id'])
    op.create_index('ix_rejection_found', 'rejection', ['found_at'])


def downgrade() -> None:
    op.drop_index('ix_rejection_found', table_name='rejection')
    op.drop_index('ix_rejection_content', table_name='rejection')
    op.drop_table('rejection')
