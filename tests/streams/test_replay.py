"""Replays add nothing, true gaps are shown, false ones never, and a new question is never held back."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay import Covered, Divergence, Found, Gap, Matcher, Mode, New, Past, Replayed


def past(frames: Iterable[str], ids: Sequence[str] = (), gaps: Iterable[int] = ()) -> Past:
    return Past(
        positions=[frozenset({frame}) for frame in frames],
        ids={own_id: n for n, own_id in enumerate(ids) if own_id},
        gaps=frozenset(gaps),
    )


def match(stored: Past, mode: Mode, frames: Iterable[str], ids: Sequence[str] = ()) -> list[Found[str]]:
    matcher: Matcher[str] = Matcher(stored, mode)
    found: list[Found[str]] = []
    for n, frame in enumerate(frames):
        found += matcher.feed(frame, frame, ids[n] if ids else "")
    return found


def items(found: Iterable[Found[str]]) -> str:
    return "".join(one.item for one in found if isinstance(one, New))


def marks(found: Iterable[Found[str]]) -> list[Gap | Divergence]:
    return [one for one in found if isinstance(one, Gap | Divergence)]


def coarse(stored: Sequence[str], frames: Sequence[str]) -> list[Found[str]]:
    """Frames whose first letter is their kind and their identity; the rest of each may differ on a replay."""
    known = Past([frozenset({frame[0]}) for frame in stored], payloads=frozenset(stored))
    matcher: Matcher[str] = Matcher(known, "full", exact=False)
    return [one for frame in frames for one in matcher.feed(frame, frame[0], "", frame)]


@pytest.mark.parametrize("mode", ["full", "tail", "unknown"])
def test_the_first_connection_is_all_new(mode: Mode) -> None:
    found = match(past(""), mode, "abc")
    assert found == [New("a", 0, ""), New("b", 1, ""), New("c", 2, "")]


@pytest.mark.parametrize("mode", ["full", "unknown", "tail"])
@pytest.mark.parametrize("frames", ["abcdefgh", "aabaabaab", "hhhhhhhh"])
@pytest.mark.parametrize("cut", range(1, 9))
def test_a_full_replay_adds_nothing_and_shows_no_gap(mode: Mode, frames: str, cut: int) -> None:
    found = match(past(frames[:cut]), mode, frames)
    assert items(found) == frames[cut:]
    assert marks(found) == []
    assert [one.ordinal for one in found if isinstance(one, New)] == list(range(cut, len(frames)))


@pytest.mark.parametrize("mode", ["unknown", "tail"])
@pytest.mark.parametrize("overlap", range(1, 6))
def test_an_overlap_adds_nothing_and_shows_no_gap(mode: Mode, overlap: int) -> None:
    found = match(past("abcdef"), mode, "abcdef"[-overlap:] + "xyz")
    assert (items(found), marks(found)) == ("xyz", [])


@pytest.mark.parametrize("mode", ["unknown", "tail"])
def test_a_tail_shows_one_mark_that_something_may_be_missing(mode: Mode) -> None:
    found = match(past("abc"), mode, "xyz")
    assert found[0] == Gap(certain=False, ordinal=3)
    assert (items(found), len(marks(found))) == ("xyz", 1)


def test_frames_that_only_happen_to_be_stored_are_let_go_in_order() -> None:
    found = match(past("abcdefghijkl"), "unknown", "efX")
    assert (items(found), marks(found)) == ("efX", [Gap(False, 12)])


def test_a_new_frame_is_never_held_back() -> None:
    matcher: Matcher[str] = Matcher(past("hhhhhh"), "unknown")
    assert [matcher.feed("h", "h") for _ in range(3)] == [[], [], []]
    assert items(matcher.feed("question", "question")) == "question"


@pytest.mark.parametrize("mode", ["full", "unknown"])
def test_a_replay_whose_past_differs_keeps_both_and_alerts_once(mode: Mode) -> None:
    stored = "abcdefghijklmnopqrstuvwxyz"
    changed = stored[:17] + "R" + stored[18:20] + "U" + stored[21:] + "12"
    found = match(past(stored), mode, changed)
    assert items(found) == "RU12"
    assert marks(found) == [Divergence(17)]
    assert [one.ordinal for one in found if isinstance(one, New)] == [17, 20, 26, 27]


def test_the_second_replay_of_a_different_past_is_known() -> None:
    stored = [frozenset({letter}) for letter in "abcdefghij"]
    stored[3] = frozenset("dD")
    assert match(Past(stored), "full", "abcDefghijk") == [New("k", 10, "")]


def test_a_replay_that_leaves_frames_out_is_a_divergence_but_adds_nothing() -> None:
    found = match(past("abcdefghijkl"), "full", "abcdefghkl" + "x")
    assert (items(found), marks(found)) == ("x", [Divergence(10)])


def test_a_replay_that_fills_a_known_gap_is_no_divergence() -> None:
    found = match(past("abcdefgh", gaps=[4]), "unknown", "abcdXYefghi")
    assert (items(found), marks(found)) == ("XYi", [])


def test_a_last_frame_that_differs_does_not_swallow_what_follows() -> None:
    found = match(past("abcdefghij"), "full", "abcdefghiJkl")
    assert (items(found), marks(found)) == ("Jkl", [Divergence(9)])


# --- identities that are coarse -------------------------------------------------------------------------------------

RUN = ["r", "s1", "s2", "f"]


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_replay_by_kinds_alone_adds_nothing(cut: int) -> None:
    fresh = RUN[cut:]
    assert coarse(RUN[:cut], RUN) == [New(frame, cut + n, "") for n, frame in enumerate(fresh)]


def test_a_matched_frame_that_no_stored_one_equals_is_handed_out_once_and_alarms_nobody() -> None:
    found = coarse(RUN, ["r", "s1*", "s2", "f", "r", "s3"])
    assert found == [Replayed("s1*", 1), New("r", 4, ""), New("s3", 5, "")]
    assert coarse([*RUN, "s1*"], ["r", "s1*", "s2", "f"]) == []


def test_a_replay_that_keeps_only_the_last_snapshot_hides_nothing() -> None:
    assert coarse(RUN, ["r", "s9", "f", "r"]) == [Replayed("s9", 1), New("r", 4, "")]


def test_what_can_stand_nowhere_ahead_comes_behind_all_that_is_stored() -> None:
    """The end of an interrupted stream is not repeated: what follows is new, and not an old frame in another form."""
    assert coarse(RUN, ["r", "s1", "s2", "s3", "s4", "f"]) == [New("s3", 4, ""), New("s4", 5, ""), New("f", 6, "")]


def test_a_kind_that_was_never_there_is_kept_at_its_place_in_the_replay() -> None:
    assert coarse(RUN, ["r", "x", "s1", "s2", "f", "r"]) == [New("x", 1, ""), New("r", 4, "")]


@given(st.lists(st.sampled_from(["r", "s1", "s2", "s3", "f"]), min_size=1, max_size=20), st.lists(st.integers(0, 20)))
def test_any_cuts_of_a_replay_by_kinds_lose_and_double_nothing(frames: list[str], cuts: list[int]) -> None:
    stored: list[str] = []
    for cut in [*cuts, len(frames)]:
        stored += [one.item for one in coarse(stored, frames[:cut]) if isinstance(one, New)]
    assert stored == frames


# --- with ids -------------------------------------------------------------------------------------------------------


def test_stored_ids_add_nothing_wherever_the_replay_begins() -> None:
    for start in range(4):
        found = match(past("abc", "123"), "unknown", "abcde"[start:], "12345"[start:])
        assert found == [New("d", 3, "4"), New("e", 4, "5")]


def test_a_step_in_counting_ids_is_a_true_gap() -> None:
    found = match(past("abc", ["evt-8", "evt-9", "evt-10"]), "tail", "fg", ["evt-13", "evt-14"])
    assert found == [Gap(True, 3), New("f", 3, "evt-13"), New("g", 4, "evt-14")]


def test_a_gap_behind_an_overlap_is_a_true_gap() -> None:
    found = match(past("abc", "123"), "tail", "bcf", "236")
    assert found == [Gap(True, 3), New("f", 3, "6")]


def test_ids_that_do_not_count_give_a_mark_only_without_overlap() -> None:
    stored = past("abc", ["q", "zz", "m"])
    assert marks(match(stored, "tail", "d", ["k"])) == [Gap(False, 3)]
    assert marks(match(stored, "tail", "cd", ["m", "k"])) == []
    assert marks(match(stored, "full", "d", ["k"])) == []


def test_frames_without_an_id_between_those_that_have_one_are_matched_by_their_place() -> None:
    stored = past("abcd", ["1", "", "2", ""])
    assert items(match(stored, "unknown", "abcde", ["1", "", "2", "", "3"])) == "e"  # from the start
    assert items(match(stored, "unknown", "de", ["", "3"])) == "e"  # behind the last id


def test_another_event_under_a_stored_id_is_a_divergence_and_kept_without_the_id() -> None:
    found = match(past("abc", "123"), "unknown", "aXcd", "1234")
    assert found == [Divergence(1), New("X", 1, ""), New("d", 3, "4")]


# --- whatever the provider does -------------------------------------------------------------------------------------

LETTERS = st.text("abc", min_size=1, max_size=30)
CUTS = st.lists(st.integers(0, 30), max_size=6)


@given(LETTERS, CUTS, st.sampled_from(["full", "unknown"]))
def test_any_cuts_of_a_replaying_stream_lose_and_double_nothing(frames: str, cuts: list[int], mode: Mode) -> None:
    stored = ""
    for cut in [*cuts, len(frames)]:
        found = match(past(stored), mode, frames[:cut])
        assert marks(found) == []
        stored += items(found)
    assert stored == frames


@given(st.lists(st.integers(0, 40), max_size=6), st.sampled_from(["full", "tail", "unknown"]), st.data())
def test_any_cuts_of_a_stream_with_ids_lose_and_double_nothing(
    cuts: list[int], mode: Mode, data: st.DataObject
) -> None:
    frames = "".join(chr(0x4E00 + n) for n in range(40))
    ids = [str(n) for n in range(40)]
    count = 0
    for cut in [*cuts, len(frames)]:
        begin = data.draw(st.integers(0, count))
        found = match(past(frames[:count], ids[:count]), mode, frames[begin:cut], ids[begin:cut])
        assert items(found) == frames[count:cut]
        assert count < 3 or marks(found) == []
        count = max(count, cut)


# --- a past that differs --------------------------------------------------------------------------------------------


def distinct(count: int) -> str:
    return "".join(chr(0x4E00 + n) for n in range(count))


@pytest.mark.parametrize("end", [4, 7, 12, 18, 30])
@pytest.mark.parametrize("changed", [2, 3, 7, 16])
def test_a_differing_replay_that_ends_early_adds_only_what_is_different(changed: int, end: int) -> None:
    """However short it is: one alert, and the next replay, whichever of both pasts it tells, adds nothing more."""
    whole = distinct(30)
    differing = (whole[:changed] + "X" + whole[changed + 1 :])[:end]
    found = match(past(whole), "unknown", differing)
    heard = changed < end
    assert items(found) == "X" * heard
    assert marks(found) == [Divergence(changed)] * heard
    positions = [frozenset({letter, "X"} if heard and n == changed else {letter}) for n, letter in enumerate(whole)]
    for again in (differing, whole, differing + whole[end:]):
        assert match(Past(positions), "unknown", again) == []


def test_a_replay_whose_very_first_frame_differs_is_known_after_two_more() -> None:
    """The first of its frames may be a tail's, and is stored with the doubt; what follows it shows that it is none."""
    whole = distinct(30)
    found = match(past(whole), "unknown", "X" + whole[1:12])
    assert items(found) == "X"
    assert marks(found) == [Gap(False, 30), Divergence(0)]
    assert items(match(past(whole), "unknown", "X" + whole[1:] + "YZ")) == "XYZ"


def test_a_tail_that_repeats_stored_frames_at_other_places_is_stored_whole() -> None:
    whole = distinct(30)
    for tail in ("X" + whole[5:9] + "Y", whole[3:6] + "X" + whole[9:20], "X" + whole[0] + "Y" + whole[2]):
        found = match(past(whole), "unknown", tail)
        assert items(found) == tail
        assert marks(found) == [Gap(False, 30)]


def test_an_overlap_that_differs_after_many_frames_adds_only_what_is_different() -> None:
    whole = distinct(40)
    found = match(past(whole), "unknown", whole[20:31] + "X" + whole[32:] + "YZ")
    assert items(found) == "XYZ"
    assert marks(found) == [Divergence(31)]


@given(st.integers(4, 60), st.data())
def test_any_short_replay_with_one_change_adds_one_frame_and_one_alert(length: int, data: st.DataObject) -> None:
    whole = distinct(length)
    changed = data.draw(st.integers(2, length - 1))
    end = data.draw(st.integers(changed + 1, length))
    found = match(
        past(whole),
        data.draw(st.sampled_from(["full", "unknown", "tail"])),
        whole[:changed] + "X" + whole[changed + 1 : end],
    )
    assert (items(found), marks(found)) == ("X", [Divergence(changed)])


# --- gaps that are closed -------------------------------------------------------------------------------------------


def doubtful(frames: str, *gaps: int, ids: Sequence[str] = (), certain: Iterable[int] = ()) -> Past:
    stored = past(frames, ids, gaps)
    return Past(stored.positions, stored.ids, stored.gaps, open=frozenset(gaps), certain=frozenset(certain))


@pytest.mark.parametrize("mode", ["full", "unknown"])
def test_a_replay_that_goes_through_a_gap_closes_it(mode: Mode) -> None:
    assert match(doubtful("abcdefgh", 4), mode, "abcdefghi") == [Covered(), New("i", 8, "")]
    assert match(doubtful("abcdefgh", 4), mode, "abcdXYefghi")[-2:] == [Covered(), New("i", 8, "")]


def test_a_replay_that_does_not_go_through_every_gap_closes_none() -> None:
    assert match(doubtful("abcdefgh", 2, 6), "unknown", "defghi") == [New("i", 8, "")]
    assert match(doubtful("abcdefgh", 4), "unknown", "abcde") == []
    assert Covered() not in match(doubtful("abcdefgh", 4), "unknown", "xyz")


def test_a_gap_in_the_numbering_is_closed_only_by_what_was_missing() -> None:
    stored = doubtful("abfg", 2, ids="1267", certain=[2])
    assert match(stored, "unknown", "abfgh", "12678") == [New("h", 4, "8")]
    found = match(stored, "unknown", "abcdefgh", "12345678")
    assert found == [New("c", 4, "3"), New("d", 5, "4"), New("e", 6, "5"), Covered(), New("h", 7, "8")]


def test_a_gap_among_ids_that_do_not_count_is_closed_by_a_replay_without_a_jump() -> None:
    stored = doubtful("abc", 2, ids=["q", "zz", "m"])
    assert match(stored, "unknown", "abcd", ["q", "zz", "m", "k"])[0] == Covered()
