"""mirrored repos, their organisations, and files of theirs whose bytes are awaited"""

import sqlalchemy as sa
from alembic import op


revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('mirrored_repo',
    sa.Column('repo_id', BIG_KEY, nullable=False),
    sa.Column('url', sa.String(), nullable=False),
    sa.Column('etag', sa.String(), nullable=True),
    sa.Column('restricted', sa.Boolean(), nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['repo_id'], ['repo.id'], name=op.f('fk_mirrored_repo_repo_id_repo'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('repo_id', name=op.f('pk_mirrored_repo'))
    )
    op.create_table('mirrored_org',
    sa.Column('account_id', BIG_KEY, nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_mirrored_org_account_id_account'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_mirrored_org'))
    )
    op.create_table('awaited_file',
    sa.Column('repo_id', BIG_KEY, nullable=False),
    sa.Column('oid', sa.String(length=40), nullable=False),
    sa.Column('sha256', sa.LargeBinary(), nullable=False),
    sa.Column('nbytes', sa.BigInteger(), nullable=False),
    sa.Column('fault', sa.String(), nullable=True),
    sa.Column('fault_kind', sa.String(length=16), nullable=True),
    sa.Column('fault_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('verified', sa.Boolean(), nullable=False),
    sa.Column('touched_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['repo_id'], ['repo.id'], name=op.f('fk_awaited_file_repo_id_repo'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('repo_id', 'oid', name=op.f('pk_awaited_file'))
    )
    op.create_index('ix_awaited_file_sha256', 'awaited_file', ['repo_id', 'sha256'], unique=False)
    op.create_table('awaited_part',
    sa.Column('repo_id', BIG_KEY, autoincrement=False, nullable=False),
    sa.Column('oid', sa.String(length=40), nullable=False),
    sa.Column('start', BIG_KEY, autoincrement=False, nullable=False),
    sa.Column('nbytes', sa.BigInteger(), nullable=False),
    sa.Column('object_id', BIG_KEY, nullable=False),
    sa.ForeignKeyConstraint(['object_id'], ['object.id'], name=op.f('fk_awaited_part_object_id_object'), ondelete='RESTRICT'),
    sa.ForeignKeyConstraint(['repo_id', 'oid'], ['awaited_file.repo_id', 'awaited_file.oid'], name=op.f('fk_awaited_part_repo_id_oid_awaited_file'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('repo_id', 'oid', 'start', name=op.f('pk_awaited_part'))
    )
    op.create_index('ix_awaited_part_object', 'awaited_part', ['object_id'], unique=False)


def downgrade() -> None:
    op.drop_table('awaited_part')
    op.drop_table('awaited_file')
    op.drop_table('mirrored_org')
    op.drop_table('mirrored_repo')
