"""Equal architectures have equal signatures, different ones do not."""

from hypothesis import given
from hypothesis import strategies as st

from app.families.signature import architecture_signature

BERT = [
    ("embeddings.word_embeddings.weight", (30522, 384)),
    ("embeddings.position_embeddings.weight", (512, 384)),
    ("encoder.layer.0.attention.self.query.weight", (384, 384)),
    ("encoder.layer.0.attention.self.query.bias", (384,)),
]


def replaced(index: int, name: str, shape: tuple[int, ...]):
    return [*BERT[:index], (name, shape), *BERT[index + 1 :]]


@given(st.permutations(BERT))
def test_order_of_tensors_and_shards_does_not_matter(tensors):
    assert architecture_signature(tensors) == architecture_signature(BERT)


def test_added_tokens_keep_the_signature():
    extended = replaced(0, "embeddings.word_embeddings.weight", (30530, 384))
    assert architecture_signature(extended) == architecture_signature(BERT)


def test_other_width_changes_the_signature():
    wider = replaced(0, "embeddings.word_embeddings.weight", (30522, 512))
    assert architecture_signature(wider) != architecture_signature(BERT)


def test_rows_of_other_tensors_count():
    longer = replaced(1, "embeddings.position_embeddings.weight", (514, 384))
    assert architecture_signature(longer) != architecture_signature(BERT)


def test_other_name_changes_the_signature():
    renamed = replaced(2, "encoder.layer.1.attention.self.query.weight", (384, 384))
    assert architecture_signature(renamed) != architecture_signature(BERT)


def test_scalars_have_a_signature():
    assert architecture_signature([("step", ())]) != architecture_signature([("step", (2,))])
