"""How decodes are put together: long tables first, little padding."""

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.blocks import BlockPool
from serving.engine.params import SamplingParams
from serving.engine.sequence import Request, Sequence
from serving.engine.step import _groups


def decoding(name: str, num_tokens: int, pool: BlockPool) -> Sequence:
    request = Request(
        request_id=name, prompt=(1,) * num_tokens, params=SamplingParams(), arrival_s=0.0
    )
    sequence = Sequence(request, pool=pool, block_size=4, salt=name.encode())
    sequence.admit()
    sequence.reserve(num_tokens)
    sequence.advance(num_tokens - 1)
    return sequence


@given(st.lists(st.integers(1, 80), min_size=1, max_size=12), st.integers(0, 40))
def test_every_sequence_is_in_one_group_without_much_padding(
    lengths: list[int], padding: int
) -> None:
    pool = BlockPool(12 * 20)
    decodes = [
        decoding(str(number), length, pool)
        for number, length in enumerate(sorted(lengths, reverse=True))
    ]

    groups = _groups(decodes, padding)

    places = [place for group in groups for place in range(group.start, group.stop)]
    assert places == list(range(len(decodes)))
    for group in groups:
        members = decodes[group.start : group.stop]
        assert group.lengths.tolist() == [len(each.tokens) for each in members]
        held = [len(each.blocks) for each in members]
        assert group.tables.shape == (len(members), max(held))
        assert group.tables.size - sum(held) <= padding
        for row, each in zip(group.tables, members, strict=True):
            assert row[: len(each.blocks)].tolist() == each.blocks
    if padding == 0:
        assert len(groups) == len({len(each.blocks) for each in decodes})
