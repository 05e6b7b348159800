"""Xet digests against xet-core's own reference vectors."""

import pytest

from app.xet import hashing

ONE = ("cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6", 100)
TWO = ("c3e67584b5c4fc2a89837ec39e40f2c8a6bb0b2987ac94cd4b31e5fbdd210a72", 200)
THREE = ("0d2beb91b9196929a5ddec9f6e306924ddf4a24268e3e59fd8464738d525af37", 300)
FOUR = ("adf8773496a9b7319b2e50dc98093f344053b17d8ad37100b9c07d9805988784", 400)
ZERO = ("0" * 64, 0)

VECTORS = [
    (
        [ONE],
        "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6",
        "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661",
    ),
    (
        [ONE, TWO, THREE],
        "71ec1275fca074724e2dd666921b3277c7cee603e4d025bcab2d4050015be2bc",
        "54e55dccc6653c612bdb5576c5d3cb34bb31bc4e100248abccf4c908b3ef7715",
    ),
    (
        [ONE, ONE, ONE, ONE],
        "89f2ada89ff8c96763c6b25010e6dd76a4c05b1466207633ea559acf2093211b",
        "2cdba690d0e09563596e0cda626d43eb4c96ef1e994fe72d9b2f5a83cfcd36dd",
    ),
    (
        [ONE, TWO, ONE, TWO],
        "90f8313ef12df385d237a067aded02562c35ded12116e32eba401dbc86c38031",
        "284ea045e5a579e99c21ec597c20de1fc0c09e7168162aac00db8f61b3d82dbb",
    ),
    (
        [ONE, TWO, ONE, TWO, THREE, FOUR],
        "52c826f99507aa05d0b45e9837fa1709e0485425cfbcb1e80db3905cf98b3ee9",
        "91d21684db364c8883ab8209fa5eb2e781cf07f37e1fa43e731c30839afe422f",
    ),
    (
        [ZERO, ONE, ZERO, ONE],
        "e1755c85be07fd6b7a8d7becc85e6d8c5f507f2a3d38b316bcb6f97855e72188",
        "207caf24fce045ac6d873b4c6186a5a435d600d103e1ae345e55ddf1f4b7f7ef",
    ),
]


@pytest.mark.parametrize(("chunks", "xorb", "file"), VECTORS)
def test_tree_digests_equal_reference(chunks, xorb, file):
    def tree():
        built = hashing.DigestTree()
        for text, nbytes in chunks:
            built.add(hashing.parse_digest(text), nbytes)
        return built

    assert hashing.format_digest(tree().xorb_digest()) == xorb
    assert hashing.format_digest(tree().file_digest()) == file


def test_nothing_has_the_zero_digest():
    assert hashing.DigestTree().xorb_digest() == hashing.EMPTY_DIGEST
    assert hashing.DigestTree().file_digest() == hashing.EMPTY_DIGEST


def test_text_form_swaps_each_word():
    digest = bytes(range(32))
    text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert hashing.format_digest(digest) == text
    assert hashing.parse_digest(text) == digest


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 63 + "\n"])
def test_text_that_is_no_digest_is_refused(text):
    with pytest.raises(ValueError):
        hashing.parse_digest(text)
