"""Predicted bytes decide between alone and a delta."""

from app.deltas.choose import Choice, Offer, choose


def test_smallest_delta_wins():
    assert choose(1000, [Offer(1, 700), Offer(2, 400)]) == Choice(2, 400)


def test_no_offer_means_alone():
    assert choose(1000, []) == Choice(None, 1000)


def test_delta_that_barely_pays_is_not_worth_reading_a_base():
    assert choose(1000, [Offer(1, 990)]) == Choice(None, 1000)


def test_wrong_base_loses_to_coding_alone():
    assert choose(660, [Offer(1, 712)]) == Choice(None, 660)


def test_ties_go_to_the_older_base_whatever_the_order():
    assert choose(1000, [Offer(9, 400), Offer(3, 400)]) == Choice(3, 400)
    assert choose(1000, [Offer(3, 400), Offer(9, 400)]) == Choice(3, 400)


def test_root_of_the_family_wins_among_about_equals_only():
    assert choose(1000, [Offer(1, 400), Offer(2, 410, of_root=True)]) == Choice(2, 410)
    assert choose(1000, [Offer(1, 400), Offer(2, 450, of_root=True)]) == Choice(1, 400)
