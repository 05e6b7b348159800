"""the moment from which on an object cannot be revived"""

import sqlalchemy as sa
from alembic import op


revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('object', sa.Column('doomed_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('object', 'doomed_at')
