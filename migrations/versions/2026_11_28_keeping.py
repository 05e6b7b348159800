"""what is known of the state of stored bytes: when objects were last read, findings, places kept

Keys of objects are compared byte by byte from now on, as stores list them, whatever the database's
locale.
"""

import sqlalchemy as sa
from alembic import op


revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.alter_column('object', 'key', type_=sa.String(128, collation='C'), existing_nullable=False)
    op.add_column('object', sa.Column('verified_at', sa.DateTime(timezone=True), nullable=True))
    op.execute('UPDATE object SET verified_at = created_at')
    op.create_index(op.f('ix_object_state_verified_at'), 'object', ['state', 'verified_at'])
    op.create_table('finding',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('kind', sa.String(length=24), nullable=False),
    sa.Column('subject', sa.String(length=160), nullable=False),
    sa.Column('detail', sa.String(), nullable=False),
    sa.Column('file_id', KEY, nullable=True),
    sa.Column('content_id', KEY, nullable=True),
    sa.Column('object_id', KEY, nullable=True),
    sa.Column('found_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['file_id'], ['file.id'], name=op.f('fk_finding_file_id_file'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['content_id'], ['content.id'], name=op.f('fk_finding_content_id_content'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['object_id'], ['object.id'], name=op.f('fk_finding_object_id_object'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_finding')),
    sa.UniqueConstraint('kind', 'subject', name=op.f('uq_finding_kind_subject')),
    )
    op.create_index('ix_finding_file', 'finding', ['file_id'])
    op.create_index('ix_finding_content', 'finding', ['content_id'])
    op.create_index('ix_finding_object', 'finding', ['object_id'])
    op.create_table('bookmark',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('value', sa.String(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_bookmark')),
    )
    op.create_table('hold',
    sa.Column('owner', sa.String(length=64), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('owner', name=op.f('pk_hold')),
    )


def downgrade() -> None:
    op.drop_table('hold')
    op.drop_table('bookmark')
    op.drop_table('finding')
    op.drop_index(op.f('ix_object_state_verified_at'), 'object')
    op.drop_column('object', 'verified_at')
    if op.get_bind().dialect.name == 'postgresql':
        op.alter_column('object', 'key', type_=sa.String(128, collation='default'), existing_nullable=False)
