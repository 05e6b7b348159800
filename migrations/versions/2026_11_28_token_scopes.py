"""token scopes: fine-grained tokens, and tokens that expire"""

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    with op.batch_alter_table('access_token') as batch_op:
        batch_op.add_column(sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.alter_column('role', type_=sa.String(length=12), existing_nullable=False)
        batch_op.drop_constraint(op.f('ck_access_token_role'), type_='check')
        batch_op.create_check_constraint(
            op.f('ck_access_token_role'), "role IN ('read', 'write', 'fineGrained')"
        )
    op.create_table('token_scope',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('token_id', KEY, nullable=False),
    sa.Column('account_id', KEY, nullable=True),
    sa.Column('repo_id', KEY, nullable=True),
    sa.Column('writes', sa.Boolean(), nullable=False),
    sa.CheckConstraint('(account_id IS NULL) <> (repo_id IS NULL)', name=op.f('ck_token_scope_entity')),
    sa.ForeignKeyConstraint(['token_id'], ['access_token.id'], name=op.f('fk_token_scope_token_id_access_token'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_token_scope_account_id_account'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['repo_id'], ['repo.id'], name=op.f('fk_token_scope_repo_id_repo'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_token_scope'))
    )
    for column in ('token', 'account', 'repo'):
        op.create_index(f'ix_token_scope_{column}', 'token_scope', [f'{column}_id'])


def downgrade() -> None:
    """Fine-grained tokens go: the old schema has no word for what they may not do."""
    op.drop_table('token_scope')
    op.execute("DELETE FROM access_token WHERE role = 'fineGrained' OR expires_at IS NOT NULL")
    with op.batch_alter_table('access_token') as batch_op:
        batch_op.drop_constraint(op.f('ck_access_token_role'), type_='check')
        batch_op.create_check_constraint(op.f('ck_access_token_role'), "role IN ('read', 'write')")
        batch_op.alter_column('role', type_=sa.String(length=8), existing_nullable=False)
        batch_op.drop_column('expires_at')
