"""Text made storable, JSON named unsafe, values cut out exactly, spellings compared."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams import jsontext
from streams.events import canonical_sha256, sha256, short, text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

UNSAFE = {
    "not JSON": "{to: 1}",
    "cut off": '{"to": "a',
    "empty": "",
    "two values": "{} {}",
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "10^400 as digits": '{"a": 1' + "0" * 400 + "}",
    "more digits than int() takes": '{"a": ' + "9" * 5_000 + "}",
    "1e400": '{"a": 1e400}',
    "duplicate keys": '{"to": "a", "to": "b"}',
    "duplicate keys inside": '{"a": [{"x": 1, "x": 1}]}',
    "duplicate keys in two spellings": '{"to": 1, "\\u0074o": 2}',
    "nested 101 deep": "[" * 101 + "]" * 101,
    "nested 200 deep": '{"a":' * 200 + "1" + "}" * 200,
    "nested 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "NUL": '{"a": "x\x00"}',
    "escaped NUL": '{"a": "x\\u0000"}',
    "lone surrogate": '{"a": "\ud800"}',
    "escaped lone surrogate": '{"a": "\\ud83d"}',
    "escaped lone surrogate as key": '{"\\udc00": 1}',
}
SAFE = ["{}", "null", '"x"', '{"a": 1e308, "b": -0.0}', "1" * 308, '{"a": "\\ud83d\\ude00"}', "[" * 100 + "]" * 100]


@pytest.mark.parametrize("raw", UNSAFE.values(), ids=UNSAFE)
def test_a_text_that_parsers_read_differently_has_a_problem_with_a_name(raw: str) -> None:
    assert jsontext.problem(raw)


@pytest.mark.parametrize("raw", SAFE, ids=range(len(SAFE)))
def test_ordinary_json_has_no_problem(raw: str) -> None:
    assert jsontext.problem(raw) == ""


def test_brackets_inside_texts_do_not_count_as_nesting() -> None:
    assert jsontext.problem(json.dumps({"sql": "[" * 500 + '"{' * 500})) == ""


@given(JSON)
def test_every_json_value_without_odd_characters_passes(value: object) -> None:
    raw = json.dumps(value)
    odd = any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in json.loads(json.dumps(str(value)))
    )
    if not odd and "\\u0000" not in raw:
        assert jsontext.problem(raw) in ("", "holds a NUL or half a character (a lone surrogate)")


@given(st.text(max_size=60))
@example('{"a')
@example('"\\')
def test_no_text_makes_the_json_functions_raise_anything_but_value_errors(raw: str) -> None:
    jsontext.problem(raw)
    jsontext.canonical(raw)
    jsontext.depth(raw)
    for read in (jsontext.parse, jsontext.quick, jsontext.lenient):
        try:
            read(raw)
        except ValueError:
            pass


@pytest.mark.parametrize("raw", ['"\\"' * 200_000, "[" * 400_000, '{"a":' * 200_000, '"' + "\\" * 400_001])
def test_hostile_texts_are_read_in_linear_time(raw: str) -> None:
    assert jsontext.problem(raw)  # a quadratic reading would take hours
    jsontext.canonical(raw)


@given(JSON)
def test_a_respelling_is_no_change(value: object) -> None:
    plain = json.dumps(value)
    for other in (json.dumps(value, ensure_ascii=False, indent=3), json.dumps(value, separators=(",", ":"))):
        assert canonical_sha256(other) == canonical_sha256(plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{"b": 2, "a": 1}'),
        ('{"to":"\\u00e9"}', '{"to":"é"}'),
        ("[0.10]", "[0.1]"),
        ("[1.5e2]", "[150.0]"),
    ],
)
def test_order_of_keys_escapes_and_zeros_are_spelling(one: str, other: str) -> None:
    assert jsontext.canonical(one) == jsontext.canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":2}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":1,"a":1}'),
        ('{"a":1,"a":2}', '{"a":2,"a":1}'),
        ("[0.1]", "[0.1000000000000000000000000000000000001]"),
        ("[12345678901234567890]", "[12345678901234567891]"),
        ("[1,2]", "[2,1]"),
        ("{broken", "{broken }"),
        ("[null]", "[false]"),
    ],
)
def test_every_other_difference_is_a_change(one: str, other: str) -> None:
    assert jsontext.canonical(one) != jsontext.canonical(other)


def test_a_slice_is_the_value_exactly_as_it_is_spelled() -> None:
    raw = '{ "x":[1, {"tool_input" : {"b":  1,"a":1.50, "a" : "\\u00e9"} } ],"y":2}'
    assert jsontext.raw_slice(raw, ["x", 1, "tool_input"]) == '{"b":  1,"a":1.50, "a" : "\\u00e9"}'
    assert jsontext.raw_slice(raw, ["y"]) == "2"
    assert jsontext.raw_slice(raw, []) == raw


def test_of_duplicate_keys_the_last_is_cut_out_as_parsers_do() -> None:
    assert jsontext.raw_slice('{"a":1,"a":[2]}', ["a"]) == "[2]"


def test_a_slice_survives_numbers_that_no_parser_takes() -> None:
    digits = "9" * 6_000
    assert jsontext.raw_slice(f'{{"n":{digits},"m":NaN}}', ["n"]) == digits


@given(JSON, st.text())
def test_a_slice_of_any_member_reads_back_as_that_member(value: object, key: str) -> None:
    raw = json.dumps({"before": value, key: value, "after": 1})
    assert json.loads(jsontext.raw_slice(raw, [key])) == json.loads(raw)[key]


@pytest.mark.parametrize("path", [["z"], ["a", 0], [0], ["l", 5], ["l", "a"]])
def test_a_missing_member_is_a_lookup_error(path: list[str | int]) -> None:
    with pytest.raises(LookupError):
        jsontext.raw_slice('{"a":1,"l":[1]}', path)


@pytest.mark.parametrize("raw", ['{"a" 1}', "{a:1}", '{"a":1 "b":2}', '{"a":', "[" * 100_000, "", "[1 2]"])
def test_a_slice_of_broken_json_is_a_value_or_lookup_error(raw: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        jsontext.raw_slice(raw, ["a"])


@given(st.lists(JSON, max_size=5), st.sampled_from(["", " ", "\n\t"]))
def test_the_elements_of_an_array_are_cut_out_as_they_are_spelled(values: list[object], space: str) -> None:
    spelled = [json.dumps(value) for value in values]
    raw = f"{space}[{space}{f'{space},{space}'.join(spelled)}{space}]"
    assert jsontext.raw_items(raw) == spelled


@pytest.mark.parametrize("raw", ["", "{}", "[", "[1", "[1,", "[1 2]", "[a]", "[" * 100_000])
def test_what_is_no_array_has_no_elements_to_cut_out(raw: str) -> None:
    with pytest.raises(ValueError):
        jsontext.raw_items(raw)


@given(st.text())
def test_storable_text_holds_no_nul_and_no_half_character(raw: str) -> None:
    made, marked = text(raw)
    made.encode("utf-8")
    assert "\0" not in made
    assert marked is (made != raw)


def test_short_text_is_cut_with_an_ellipsis() -> None:
    assert short("abcdef", 4) == "abc…"
    assert short("abcd", 4) == "abcd"
    assert sha256("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_too_deep_counts_the_levels_of_a_value_without_a_stack() -> None:
    def nested(levels: int) -> object:
        value: object = 1
        for _ in range(levels):
            value = [value]
        return value

    assert not jsontext.too_deep(nested(100))
    assert jsontext.too_deep(nested(200))
