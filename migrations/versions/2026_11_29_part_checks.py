"""checks of the pieces of uploaded and fetched parts

Parts that are on their way meanwhile have none: they are sent, or fetched, again.
"""

import sqlalchemy as sa
from alembic import op


revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None

TABLES = ('lfs_part', 'awaited_part')


def upgrade() -> None:
    for name in TABLES:
        op.add_column(
            name, sa.Column('checks', sa.LargeBinary(), nullable=False, server_default=sa.text("''"))
        )


def downgrade() -> None:
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            table.drop_column('checks')
