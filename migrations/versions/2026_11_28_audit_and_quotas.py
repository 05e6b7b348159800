"""audit log and quotas"""

import sqlalchemy as sa
from alembic import op


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('audit_event',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('request_id', sa.String(length=200), nullable=True),
    sa.Column('address', sa.String(length=64), nullable=False),
    sa.Column('actor_id', sa.BigInteger(), nullable=True),
    sa.Column('actor', sa.String(length=96), nullable=False),
    sa.Column('token_id', sa.BigInteger(), nullable=True),
    sa.Column('action', sa.String(length=40), nullable=False),
    sa.Column('target', sa.String(length=512), nullable=False),
    sa.Column('detail', sa.String(length=1024), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_event'))
    )
    op.create_index('ix_audit_event_at', 'audit_event', ['at'])
    op.create_index('ix_audit_event_actor', 'audit_event', ['actor', 'id'])
    op.create_index('ix_audit_event_target', 'audit_event', ['target', 'id'])
    op.create_table('quota',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('account_id', KEY, nullable=True),
    sa.Column('repo_id', KEY, nullable=True),
    sa.Column('nbytes', sa.BigInteger(), nullable=True),
    sa.Column('files', sa.BigInteger(), nullable=True),
    sa.Column('repos', sa.BigInteger(), nullable=True),
    sa.Column('proposed_nbytes', sa.BigInteger(), nullable=True),
    sa.CheckConstraint('(account_id IS NULL) <> (repo_id IS NULL)', name=op.f('ck_quota_target')),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_quota_account_id_account'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['repo_id'], ['repo.id'], name=op.f('fk_quota_repo_id_repo'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_quota')),
    sa.UniqueConstraint('account_id', name=op.f('uq_quota_account_id')),
    sa.UniqueConstraint('repo_id', name=op.f('uq_quota_repo_id'))
    )


def downgrade() -> None:
    op.drop_table('quota')
    op.drop_table('audit_event')
