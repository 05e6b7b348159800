"""sketches of a shape in the order of their age"""

from alembic import op


revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index('ix_sketch_shape', table_name='sketch')
    op.create_index('ix_sketch_shape', 'sketch', ['shape_key', 'content_id'])


def downgrade() -> None:
    op.drop_index('ix_sketch_shape', table_name='sketch')
    op.create_index('ix_sketch_shape', 'sketch', ['shape_key'])
