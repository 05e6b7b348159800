"""fine-tuning: files, jobs, leases, events, checkpoints"""

import sqlalchemy as sa
from alembic import op


revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table('tuning_file',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('name', sa.String(length=40), nullable=False),
    sa.Column('owner_id', KEY, nullable=False),
    sa.Column('repo_id', KEY, nullable=False),
    sa.Column('file_id', KEY, nullable=False),
    sa.Column('filename', sa.String(length=255), nullable=False),
    sa.Column('purpose', sa.String(length=24), nullable=False),
    sa.Column('nbytes', sa.BigInteger(), nullable=False),
    sa.Column('created_at', TIME, nullable=False),
    sa.ForeignKeyConstraint(['owner_id'], ['account.id'], name=op.f('fk_tuning_file_owner_id_account'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['repo_id'], ['repo.id'], name=op.f('fk_tuning_file_repo_id_repo'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['file_id'], ['file.id'], name=op.f('fk_tuning_file_file_id_file'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_tuning_file')),
    sa.UniqueConstraint('name', name=op.f('uq_tuning_file_name')),
    )
    op.create_index('ix_tuning_file_owner', 'tuning_file', ['owner_id', 'id'])
    op.create_index('ix_tuning_file_repo', 'tuning_file', ['repo_id'])
    op.create_index('ix_tuning_file_file', 'tuning_file', ['file_id'])
    op.create_table('tuning_job',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('name', sa.String(length=40), nullable=False),
    sa.Column('owner_id', KEY, nullable=False),
    sa.Column('base', sa.String(length=208), nullable=False),
    sa.Column('base_repo_id', KEY, nullable=True),
    sa.Column('commit', sa.String(length=40), nullable=False),
    sa.Column('target', sa.String(length=208), nullable=False),
    sa.Column('is_full', sa.Boolean(), nullable=False),
    sa.Column('training_file_id', KEY, nullable=True),
    sa.Column('validation_file_id', KEY, nullable=True),
    sa.Column('result_file_id', KEY, nullable=True),
    sa.Column('request', sa.String(), nullable=False),
    sa.Column('request_key', sa.String(length=255), nullable=True),
    sa.Column('status', sa.String(length=16), nullable=False),
    sa.Column('is_valid', sa.Boolean(), nullable=False),
    sa.Column('wanted', sa.String(length=8), nullable=False),
    sa.Column('steps', sa.BigInteger(), nullable=False),
    sa.Column('total_steps', sa.BigInteger(), nullable=False),
    sa.Column('trained_tokens', sa.BigInteger(), nullable=False),
    sa.Column('error', sa.String(), nullable=True),
    sa.Column('result', sa.String(), nullable=True),
    sa.Column('created_at', TIME, nullable=False),
    sa.Column('running_at', TIME, nullable=True),
    sa.Column('begun_at', sa.BigInteger(), nullable=False),
    sa.Column('finished_at', TIME, nullable=True),
    sa.CheckConstraint("status IN ('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')", name=op.f('ck_tuning_job_status')),
    sa.CheckConstraint("wanted IN ('run', 'pause')", name=op.f('ck_tuning_job_wanted')),
    sa.ForeignKeyConstraint(['owner_id'], ['account.id'], name=op.f('fk_tuning_job_owner_id_account'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['base_repo_id'], ['repo.id'], name=op.f('fk_tuning_job_base_repo_id_repo'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['training_file_id'], ['tuning_file.id'], name=op.f('fk_tuning_job_training_file_id_tuning_file'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['validation_file_id'], ['tuning_file.id'], name=op.f('fk_tuning_job_validation_file_id_tuning_file'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['result_file_id'], ['tuning_file.id'], name=op.f('fk_tuning_job_result_file_id_tuning_file'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_tuning_job')),
    sa.UniqueConstraint('name', name=op.f('uq_tuning_job_name')),
    sa.UniqueConstraint('owner_id', 'request_key', name=op.f('uq_tuning_job_owner_id_request_key')),
    )
    op.create_index('ix_tuning_job_owner', 'tuning_job', ['owner_id', 'id'])
    op.create_index('ix_tuning_job_status', 'tuning_job', ['status', 'id'])
    op.create_index('ix_tuning_job_base', 'tuning_job', ['base_repo_id'])
    op.create_index('ix_tuning_job_training', 'tuning_job', ['training_file_id'])
    op.create_index('ix_tuning_job_validation', 'tuning_job', ['validation_file_id'])
    op.create_index('ix_tuning_job_result', 'tuning_job', ['result_file_id'])
    op.create_table('tuning_lease',
    sa.Column('job_id', KEY, autoincrement=False, nullable=False),
    sa.Column('fence', sa.BigInteger(), nullable=False),
    sa.Column('holder', sa.String(length=64), nullable=True),
    sa.Column('until', TIME, nullable=True),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('beat', sa.BigInteger(), nullable=False),
    sa.Column('token_id', KEY, nullable=True),
    sa.ForeignKeyConstraint(['job_id'], ['tuning_job.id'], name=op.f('fk_tuning_lease_job_id_tuning_job'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', name=op.f('pk_tuning_lease')),
    )
    op.create_index('ix_tuning_lease_until', 'tuning_lease', ['until'])
    op.create_table('tuning_event',
    sa.Column('job_id', KEY, autoincrement=False, nullable=False),
    sa.Column('number', KEY, autoincrement=False, nullable=False),
    sa.Column('at', TIME, nullable=False),
    sa.Column('level', sa.String(length=8), nullable=False),
    sa.Column('type', sa.String(length=8), nullable=False),
    sa.Column('message', sa.String(), nullable=False),
    sa.Column('data', sa.String(), nullable=True),
    sa.CheckConstraint("level IN ('info', 'warn', 'error')", name=op.f('ck_tuning_event_level')),
    sa.CheckConstraint("type IN ('message', 'metrics')", name=op.f('ck_tuning_event_type')),
    sa.ForeignKeyConstraint(['job_id'], ['tuning_job.id'], name=op.f('fk_tuning_event_job_id_tuning_job'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'number', name=op.f('pk_tuning_event')),
    )
    op.create_table('tuning_checkpoint',
    sa.Column('id', KEY, autoincrement=True, nullable=False),
    sa.Column('name', sa.String(length=40), nullable=False),
    sa.Column('job_id', KEY, nullable=False),
    sa.Column('step', sa.BigInteger(), nullable=False),
    sa.Column('file_id', KEY, nullable=False),
    sa.Column('nbytes', sa.BigInteger(), nullable=False),
    sa.Column('metrics', sa.String(), nullable=False),
    sa.Column('created_at', TIME, nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['tuning_job.id'], name=op.f('fk_tuning_checkpoint_job_id_tuning_job'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['file_id'], ['file.id'], name=op.f('fk_tuning_checkpoint_file_id_file'), ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_tuning_checkpoint')),
    sa.UniqueConstraint('name', name=op.f('uq_tuning_checkpoint_name')),
    sa.UniqueConstraint('job_id', 'step', name=op.f('uq_tuning_checkpoint_job_id_step')),
    )
    op.create_index('ix_tuning_checkpoint_file', 'tuning_checkpoint', ['file_id'])


def downgrade() -> None:
    for table in ('tuning_checkpoint', 'tuning_event', 'tuning_lease', 'tuning_job', 'tuning_file'):
        op.drop_table(table)
