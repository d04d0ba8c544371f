"""Money: how much, in what currency, which way."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from dashboard.reading.sentence import Notice, Part, Reading, fact, first, glue, grouped, number, value, words
from dashboard.values import Number

AMOUNT = ("amount", "total", "sum", "value", "amount_due", "price")
MINOR = ("amount_cents", "amount_minor", "cents")
CURRENCY = ("currency", "currency_code", "ccy")
TO = ("to", "recipient", "payee", "beneficiary", "destination", "customer", "account", "iban", "card")
FOR = ("order", "order_id", "invoice", "invoice_id", "payment", "payment_id", "charge", "charge_id", "reference")
WAYS = (
    ({"refund", "refunds", "reimburse"}, "Refund ", "Can be taken back only by charging the customer again."),
    ({"charge", "capture", "debit"}, "Charge ", "Can be taken back only by a refund."),
    (
        {"pay", "payment", "payout", "transfer", "wire", "disburse", "remit"},
        "Pay ",
        "Can be taken back only if the receiver pays it back.",
    ),
)


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """Money moves where a tool's name says which way and an argument says how much."""
    named = words(tool)
    way = next((way for way in WAYS if way[0] & named), None)
    name, given = first(arguments, AMOUNT)
    minor, given_minor = first(arguments, MINOR)
    amount = number(given) if name else number(given_minor)
    if way is None or amount is None:
        return None
    currency_name, currency = first(arguments, CURRENCY)
    known = currency if isinstance(currency, str) and len(currency) == 3 and currency.isascii() else ""
    known = known.upper() if known.isalpha() else ""
    shown = f"{spelled(amount)} (hundredths)" if minor and not name else spelled(amount)
    figure = f"{known}\u00a0{shown}" if known else shown
    parts = [glue(way[1]), fact(figure)]
    if not known:
        parts.append(glue(" (no currency named)"))
    to_name, to = _text(arguments, TO)
    for_name, what = _text(arguments, FOR)
    parts += _object(" to ", to_name, to) + _object(" for ", for_name, what) + [glue(".")]
    notices = []
    if amount <= 0:
        notices.append(Notice("look", "The amount is not above zero", "A refund below zero may take money instead."))
    lead = (to_name, for_name)
    return Reading(
        "money",
        tuple(parts),
        way[2],
        tuple(notices),
        lead=tuple(found for found in lead if found),
        amount=figure,
    )


def spelled(amount: Decimal) -> str:
    """The exact amount, at least two decimals, in groups of three."""
    exponent = amount.as_tuple().exponent
    decimals = max(2, -exponent) if isinstance(exponent, int) else 2
    return grouped(f"{amount:.{decimals}f}")


def _text(arguments: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, str]:
    name, found = first(arguments, names)
    return (name, str(found)) if isinstance(found, str | Number) else ("", "")


def _object(word: str, name: str, found: str) -> list[Part]:
    if not name:
        return []
    known = next((noun for noun in ("order", "invoice", "card", "account", "customer") if noun in name.lower()), "")
    return [glue(f"{word}{known} " if known else word), value(found)]
