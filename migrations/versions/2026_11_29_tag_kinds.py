"""what tags are about and who sees them: the tags in use are listed by a walk along an index"""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op


revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None

PREFIXED = {
    'model': ('dataset', 'license', 'base_model'),
    'dataset': (
        *('task_categories', 'task_ids', 'language', 'multilinguality', 'size_categories'),
        *('annotations_creators', 'language_creators', 'source_datasets', 'format', 'license'),
    ),
    'space': ('license',),
}
LIBRARIES = ('safetensors', 'gguf', 'onnx', 'pytorch', 'tf', 'jax', 'tensorboard')

COLUMNS = (
    sa.Column('kind', sa.String(length=24), nullable=False, server_default='other'),
    sa.Column('seen_by', sa.BigInteger(), nullable=False, server_default='0'),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column('repo_tag', column)
    op.execute(
        'UPDATE repo_tag SET seen_by = (SELECT namespace_id FROM repo WHERE repo.id = repo_id) '
        'WHERE repo_id IN (SELECT id FROM repo WHERE private)'
    )
    _name_kinds()
    op.create_index('ix_repo_tag_seen', 'repo_tag', ['type', 'seen_by', 'kind', 'tag'])


def downgrade() -> None:
    op.drop_index('ix_repo_tag_seen', table_name='repo_tag')
    with op.batch_alter_table('repo_tag') as table:
        for column in COLUMNS:
            table.drop_column(column.name)


def _name_kinds() -> None:
    """As indexing does, by what the cards say that were read."""
    connection = op.get_bind()
    tag = sa.table('repo_tag', *map(sa.column, ('type', 'repo_id', 'tag', 'kind')))
    for repo_type, prefixes in PREFIXED.items():
        for prefix in prefixes:
            begins = tag.c.tag.startswith(f'{prefix}:', autoescape=True)
            found = (tag.c.type == repo_type) & begins
            connection.execute(sa.update(tag).where(found).values(kind=prefix))
    of_model = tag.c.type == 'model'
    library = of_model & tag.c.tag.in_(LIBRARIES)
    connection.execute(sa.update(tag).where(library).values(kind='library'))
    here = of_model & (tag.c.repo_id == sa.bindparam('repo')) & (tag.c.tag == sa.bindparam('text'))
    write = sa.update(tag).where(here).values(kind=sa.bindparam('about'))
    cards = sa.table('repo_card', sa.column('repo_id'), sa.column('facts'))
    last = 0
    while True:
        rows = connection.execute(
            sa.select(cards.c.repo_id, cards.c.facts)
            .where(cards.c.repo_id > last)
            .order_by(cards.c.repo_id)
            .limit(1_000)
        ).all()
        if not rows:
            return
        last = rows[-1].repo_id
        changes = [
            {'repo': repo_id, 'text': text, 'about': kind}
            for repo_id, facts in rows
            for text, kind in _said(json.loads(facts))
        ]
        if changes:
            connection.execute(write, changes)


def _said(facts: dict) -> Iterator[tuple[str, str]]:
    """Tags of a model of which its card tells more; of two kinds of one tag, the last counts."""
    languages = (facts.get('card_data') or {}).get('language')
    for language in languages if isinstance(languages, list) else [languages]:
        if isinstance(language, str) and ':' not in language and language not in LIBRARIES:
            yield language, 'language'
    for key, kind in (('library_name', 'library'), ('pipeline_tag', 'pipeline_tag')):
        if facts.get(key) and ':' not in facts[key]:
            yield facts[key], kind
