"""RFC 6902: atomic, on a copy, within limits."""

import copy

import pytest

from streams import patch


def applied(value: object, *operations: dict[str, object]) -> object:
    known, _ = patch.check(list(operations))
    return patch.apply(value, known)


def test_operations_apply_in_order_with_escaped_pointers_and_ends_of_lists() -> None:
    made = applied(
        {"a/b": {"m~n": 1}, "list": [1]},
        {"op": "replace", "path": "/a~1b/m~0n", "value": 2},
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "copy", "from": "/list", "path": "/more"},
        {"op": "move", "from": "/list/0", "path": "/first"},
        {"op": "test", "path": "/first", "value": 1},
        {"op": "remove", "path": "/more/0"},
    )
    assert made == {"a/b": {"m~n": 2}, "list": [3], "more": [3], "first": 1}


def test_a_patch_that_fails_half_way_leaves_the_value_alone() -> None:
    value = {"a": [1, 2], "b": {"c": 1}}
    before = copy.deepcopy(value)
    with pytest.raises(patch.PatchFailed):
        applied(value, {"op": "add", "path": "/a/-", "value": 3}, {"op": "test", "path": "/b/c", "value": 9})
    assert value == before


def test_an_applied_patch_shares_nothing_with_the_old_value() -> None:
    value = {"a": {"b": 1}}
    made = applied(value, {"op": "add", "path": "/x", "value": {"y": []}})
    made["a"]["b"] = 2  # type: ignore[index]
    assert value == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        "add",
        None,
        [1],
        [{}],
        [{"op": 1, "path": ""}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/~2", "value": 1}],
        [{"op": "add", "path": 3, "value": 1}],
        [{"op": "move", "path": "/a"}],
        [{"op": "copy", "path": "/a", "from": 1}],
        [{"op": "remove"}],
        [{"op": "test", "path": "/a"}],
        [{"op": "remove", "path": "/a"}] * (patch.MAX_OPERATIONS + 1),
    ],
)
def test_what_is_no_patch_is_malformed(operations: object) -> None:
    with pytest.raises(patch.MalformedPatch):
        patch.check(operations)


def test_an_unknown_op_is_left_out_and_named() -> None:
    known, unknown = patch.check([{"op": "merge", "path": "/a"}, {"op": "add", "path": "/a", "value": None}])
    assert unknown == ["merge"]
    assert patch.apply({}, known) == {"a": None}


def test_members_that_the_standard_does_not_name_are_kept_and_ignored() -> None:
    assert applied({"a": 1}, {"op": "remove", "path": "/a", "value": 5, "note": "x"}) == {}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nowhere"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "add", "path": "/text/deep", "value": 1},
        {"op": "copy", "from": "/nowhere", "path": "/a"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "test", "path": "/text", "value": "other"},
    ],
)
def test_a_well_formed_patch_that_does_not_apply_fails_and_nothing_else(operation: dict[str, object]) -> None:
    with pytest.raises(patch.PatchFailed):
        applied({"list": [1], "text": "t"}, operation)


def test_the_whole_value_can_be_replaced() -> None:
    assert applied({"a": 1}, {"op": "replace", "path": "", "value": [1]}) == [1]
    assert applied(None, {"op": "add", "path": "", "value": {"a": 1}}) == {"a": 1}


def test_copies_cannot_grow_a_value_without_end() -> None:
    operations: list[dict[str, object]] = [{"op": "copy", "from": "", "path": f"/k{n}"} for n in range(60)]
    with pytest.raises(patch.PatchFailed, match="grows"):
        applied({"text": "x" * 1_000}, *operations)


def test_numbers_past_64_bits_and_half_characters_survive_the_copy() -> None:
    value = {"n": 2**80, "s": "\ud800", "f": 1.0}
    assert applied(value, {"op": "add", "path": "/a", "value": 1}) == {**value, "a": 1}
