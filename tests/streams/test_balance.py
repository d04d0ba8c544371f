"""How streams are shared: fairly, without moving for little, and never while somebody may be about to be gone."""

import random
from uuid import UUID, uuid4

import pytest

from streams import balance
from streams.balance import GIVEN_S, NOBODY_TAKES_S, YIELD_S, Scale, Share

SETTLED_S = 7.5


def shares(*streams: int, slots: int = 1000, silent_s: float = 1.0) -> list[Share]:
    """Processes called a, b, c and so on."""
    return [Share("abcdefgh"[place], count, slots, silent_s) for place, count in enumerate(streams)]


@pytest.mark.parametrize(
    ("streams", "gives"),
    [
        ((60,), 0),
        ((60, 0), 8),
        ((6000, 0, 0, 0), 562),
        ((16, 14), 0),  # a quarter more is even enough
        ((18, 14), 2),
        ((4, 4, 2), 1),  # rounding up would hide it
        ((1, 0), 0),
        ((2, 1), 0),
        ((0, 5), 0),
    ],
)
def test_who_holds_far_more_than_another_gives(streams: tuple[int, ...], gives: int) -> None:
    assert balance.to_give(shares(*streams), owner="a", most=1000) == gives


def test_nothing_is_given_to_those_who_are_full() -> None:
    assert balance.to_give([Share("a", 50, 100, 0), Share("b", 5, 5, 0)], owner="a", most=100) == 0
    assert balance.to_give([Share("a", 50, 100, 0), Share("b", 5, 8, 0)], owner="a", most=100) == 3


def test_each_takes_its_share_of_what_is_free() -> None:
    assert balance.to_take(shares(0, 0, 0), owner="a", free=60) == 20
    assert balance.to_take(shares(20, 20, 0), owner="a", free=20) == 0
    assert balance.to_take(shares(20, 20, 0), owner="c", free=20) == 20
    assert balance.to_take(shares(15, 15), owner="newcomer", free=30) == 20
    assert balance.to_take([], owner="a", free=7) == 7


def test_any_beginning_ends_evenly_and_then_nothing_moves() -> None:
    chance = random.Random(7)
    for _ in range(200):
        held = [chance.choice([0, chance.randint(0, 40), chance.randint(0, 400)]) for _ in range(chance.randint(2, 6))]
        total, moved = sum(held), 0
        for _ in range(200):
            gives = [balance.to_give(shares(*held), owner="abcdefgh"[place], most=200) for place in range(len(held))]
            if not any(gives):
                break
            free = sum(gives)
            moved += free
            held = [count - given for count, given in zip(held, gives, strict=True)]
            for place in chance.sample(range(len(held)), len(held)):
                taken = balance.to_take(shares(*held), owner="abcdefgh"[place], free=free)
                held[place] += taken
                free -= taken
            assert free == 0, "somebody has room for what was given"
        else:
            pytest.fail(f"it never comes to rest: {held}")
        assert sum(held) == total
        assert max(held) - min(held) < 2 or 4 * max(held) <= 5 * min(held), held
        assert moved <= total


def scale(owner: str = "a") -> Scale:
    return Scale(owner, settled_after_s=SETTLED_S)


def test_nobody_gives_while_somebody_joins_or_is_silent() -> None:
    one = scale()
    assert one.give(shares(60, 0), most=200, now=0.0) == 0
    assert one.give(shares(60, 0), most=200, now=SETTLED_S - 0.1) == 0
    assert one.give(shares(60, 0), most=200, now=SETTLED_S) == 8
    assert one.give(shares(60, 0, 0), most=200, now=SETTLED_S + 1) == 0, "another one joined"
    assert one.give(shares(60, 0, 0), most=200, now=2 * SETTLED_S + 1) == 8
    silent = [*shares(60, 0), Share("c", 0, 1000, SETTLED_S + 1)]
    assert one.give(silent, most=200, now=30 * SETTLED_S) == 0
    assert scale("ghost").give(shares(60, 0), most=200, now=SETTLED_S) == 0, "who is not seen gives nothing"


def test_the_next_lot_goes_when_the_last_was_taken() -> None:
    one, given = scale(), [uuid4() for _ in range(8)]
    one.give(shares(60, 0), most=200, now=0.0)
    one.gave(given, 100.0)
    assert one.give(shares(52, 0), most=200, now=100.1) == 0
    assert one.left_to_others(100.1) == set(given)
    one.still_free(given[:1], 101.0)
    assert one.give(shares(52, 7), most=200, now=101.0) == 0
    one.still_free([], 102.0)
    assert one.give(shares(52, 8), most=200, now=102.0) > 0


def test_what_nobody_takes_comes_back_and_is_not_given_again_soon() -> None:
    one, given = scale(), [uuid4()]
    one.give(shares(60, 0), most=200, now=0.0)
    one.gave(given, 100.0)
    later = 100.0 + GIVEN_S
    one.still_free(given, later)
    assert one.left_to_others(later) == set()
    assert one.give(shares(60, 0), most=200, now=later) == 0
    assert one.give(shares(60, 0), most=200, now=later + NOBODY_TAKES_S) == 8


def test_what_is_left_to_the_others_is_taken_when_they_leave_it() -> None:
    one, free = scale(), [UUID(int=number) for number in range(4)]
    even = shares(9, 3)
    assert one.take(even, free, 0.0) == (free, 0)
    assert one.take(even, free[:2], YIELD_S - 0.1) == (free[:2], 0)
    newer = UUID(int=9)
    assert one.take(even, [*free[:2], newer], YIELD_S) == (free[:2], 2)
    assert scale("b").take(even, free, 0.0) == (free, 4)
