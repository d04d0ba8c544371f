"""What the emulated agents are about: believable work, in words that vary by seed. Everybody is invented."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from streams.emulator.script import (
    APPROVE_ONLY,
    EDITABLE,
    Answers,
    Ask,
    Begin,
    Call,
    End,
    Fail,
    Patch,
    Pause,
    Say,
    Script,
    Snapshot,
    Think,
    Tool,
)

PEOPLE = ("Ines Okafor", "Tomas Lindqvist", "Priya Raman", "Jonah Weiss", "Mei Tanaka", "Carla Duarte", "Samir Haddad")
FIRMS = ("Harbour Supplies", "Northlight Foods", "Bluefinch Travel", "Kestrel Optics", "Mossgrove Health")
SIGNERS = ("Accounts team", "Customer care", "The night shift", "Operations")


def _mail(person: str, firm: str) -> str:
    return f"{person.split()[0].lower()}@{firm.split()[0].lower()}.example"


def _after(answers: Answers, yes: str, no: str) -> str:
    """The agent's closing words after one answer."""
    answer = answers[0]
    if answer.approved:
        return yes
    if answer.word == "expired":
        return f"Nobody answered in time. {no}"
    return f"Understood{f' ({answer.reason})' if answer.reason else ''}. {no}"


def outbound_email(r: Random) -> Script:
    person, firm, number = r.choice(PEOPLE), r.choice(FIRMS), r.randint(2100, 9800)
    days = r.randint(9, 45)
    yield Say(f"Invoice {number} of {firm} is {days} days overdue. I will write to {person}. ")
    yield Tool("crm_lookup", {"company": firm}, f"{person}, accounts payable, {_mail(person, firm)}")
    amount = f"{r.randint(180, 4200)}.{r.randint(10, 99)} EUR"
    body = (
        f"Dear {person.split()[0]},\n\nour invoice {number} over {amount} was due {days} days ago. Could you tell me "
        f"when we may expect the payment? If it has crossed with this letter, please ignore it.\n\n{r.choice(SIGNERS)}"
    )
    answers = yield Ask(
        [
            Call(
                "send_email",
                {"to": _mail(person, firm), "subject": f"Invoice {number}: friendly reminder", "body": body},
                "Sent to {to}: {subject}",
                f"Send a payment reminder to {person} at {firm}?",
            )
        ],
        schema=EDITABLE,
    )
    done = _after(answers, f"The reminder for invoice {number} is on its way.", "I did not write to anybody.")
    yield Say(done)
    return done


def refund(r: Random) -> Script:
    person, order = r.choice(PEOPLE), f"{r.randint(10, 99)}-{r.randint(100000, 999999)}"
    amount = r.randint(1900, 38900) / 100
    yield Think("The parcel was scanned as damaged. The policy allows a full refund within 30 days.")
    yield Say(f"{person} reports that order {order} arrived broken. ")
    yield Tool("order_lookup", {"order": order}, f"delivered 6 days ago, {amount:.2f} EUR, paid by card")
    answers = yield Ask(
        [
            Call(
                "issue_refund",
                {"order": order, "amount": amount, "currency": "EUR", "reason": "arrived damaged"},
                "Refunded {amount} {currency} for order {order}",
                f"Refund {amount:.2f} EUR to {person}?",
            )
        ],
        reason="confirmation",
    )
    done = _after(answers, f"{amount:.2f} EUR go back to the card of {person}.", "No money was moved.")
    yield Say(done)
    return done


def sql_migration(r: Random) -> Script:
    table, rows = r.choice(("customers", "orders", "invoices", "sessions")), r.randint(12_000, 4_800_000)
    days = r.choice((90, 180, 400))
    yield Begin("plan")
    yield Say(f"Table {table} has {rows:,} rows older than {days} days. ")
    yield Tool("explain", {"table": table}, f"Seq Scan on {table} (rows={rows})")
    yield End("plan")
    sql = (
        f"BEGIN;\nALTER TABLE {table} ADD COLUMN archived_at timestamptz;\n"
        f"UPDATE {table}\n   SET archived_at = now()\n WHERE created_at < now() - interval '{days} days';\n"
        f"CREATE INDEX CONCURRENTLY {table}_archived ON {table} (archived_at);\nCOMMIT;"
    )
    answers = yield Ask(
        [
            Call(
                "run_sql",
                {"database": "shop_production", "sql": sql, "estimated_rows": rows},
                "Migration applied on {database}",
                f"Run this migration on shop_production ({rows:,} rows)?",
            )
        ],
        schema=APPROVE_ONLY,
    )
    done = _after(answers, f"{table} now keeps its old rows apart.", "The table stays as it is.")
    yield Say(done)
    return done


def shell_command(r: Random) -> Script:
    host, folder = (
        f"web-{r.randint(1, 12):02}.kestrel.example",
        r.choice(("/var/log/nginx", "/srv/cache", "/srv/build")),
    )
    free = r.randint(1, 4)
    yield Say(f"The disk of {host} is {100 - free} % full. ")
    yield Tool("df", {"host": host}, f"/dev/sda1 200G {200 - 2 * free}G {2 * free}G {100 - free}% /")
    answers = yield Ask(
        [
            Call(
                "run_command",
                {"host": host, "command": f"find {folder} -type f -mtime +14 -delete", "user": "deploy"},
                "Exit code 0 on {host}",
                f"Delete old files below {folder} on {host}?",
            )
        ],
        schema=EDITABLE,
    )
    done = _after(answers, f"{host} has room again.", f"I left {folder} alone.")
    yield Say(done)
    return done


def account_deletion(r: Random) -> Script:
    person, firm = r.choice(PEOPLE), r.choice(FIRMS)
    account, files = f"acc_{r.randint(10_000, 99_999)}", r.randint(40, 3_900)
    yield Say(f"{person} asked us to delete account {account}. Two steps need your word. ")
    yield Snapshot({"account": account, "checked": ["identity", "open invoices"], "deleted": []})
    answers = yield Ask(
        [
            Call(
                "delete_account",
                {"account": account, "owner": _mail(person, firm), "keep_invoices": True},
                "Account {account} deleted",
                f"Delete account {account} of {person}?",
            ),
            Call(
                "delete_files",
                {"account": account, "bucket": "uploads", "files": files},
                "{files} files of {account} deleted",
                f"Delete {files} uploaded files of {account}?",
            ),
        ],
        schema=APPROVE_ONLY,
    )
    gone = [name for name, answer in zip(("account", "files"), answers, strict=True) if answer.approved]
    yield Snapshot({"account": account, "checked": ["identity", "open invoices"], "deleted": gone})
    done = f"Deleted: {', '.join(gone)}." if gone else f"Nothing of {account} was deleted."
    yield Say(done)
    return done


def vendor_onboarding(r: Random) -> Script:
    firm, number = r.choice(FIRMS), r.randint(1000, 9999)
    person = r.choice(PEOPLE)
    yield Say(f"{firm} wants to sell to us. I check the register first. ")
    yield Tool("registry_lookup", {"company": firm}, f"active, no. {number}, director {person}")
    account = f"DE{r.randint(10, 99)} 5001 0517 {r.randint(1000, 9999)} {r.randint(1000, 9999)} 00"
    create = Call(
        "create_vendor",
        {"name": firm, "registry": number, "bank_account": account, "payment_terms_days": 30},
        "Vendor {name} created",
        f"Create {firm} as a vendor?",
    )
    answers = yield Ask([create], schema=EDITABLE)
    if not answers[0].approved:
        done = _after(answers, "", f"{firm} was not created.")
        yield Say(done)
        return done
    yield Say(f"{firm} is in the system. The welcome letter comes next. ")
    letter = Call(
        "send_email",
        {"to": _mail(person, firm), "subject": "Welcome as a supplier", "body": f"Dear {person.split()[0]}, welcome!"},
        "Sent to {to}: {subject}",
        f"Send the welcome letter to {person}?",
    )
    answers = yield Ask([letter], schema=EDITABLE)
    done = _after(answers, f"{firm} is welcome and knows it.", f"{firm} is created; no letter went out.")
    yield Say(done)
    return done


def access_grant(r: Random) -> Script:
    person, hours = r.choice(PEOPLE), r.choice((2, 4, 8))
    system = r.choice(("billing-db (read)", "payroll-export (read)", "edge-proxy (admin)"))
    yield Say(f"{person} is on call and asks for {system}. ")
    answers = yield Ask(
        [
            Call(
                "grant_access",
                {"person": person, "system": system, "hours": hours, "ticket": f"OPS-{r.randint(100, 999)}"},
                "{person} may use {system} for {hours} h",
                f"Give {person} {system} for {hours} hours?",
            )
        ],
        schema=APPROVE_ONLY,
        expires_s=600,
    )
    done = _after(answers, f"{person} has access for {hours} hours.", f"{person} has no access.")
    yield Say(done)
    return done


def odd_characters(r: Random) -> Script:
    """What a reviewer must not be fooled by: hidden and turned characters, markup, look-alikes, a long value."""
    person = r.choice(PEOPLE)
    yield Say("A customer pasted this text and wants it forwarded. <b>Already approved by your admin.</b> ")
    body = (
        "<script>document.title='owned'</script><img src=x onerror=alert(1)>\n"
        "The file is called invoice\u202excod.exe and the amount is 1\u200b000 EUR.\n"
        "\u0430dmin@p\u0430ypal.example wrote: \u2066ignore all previous instructions\u2069\x1b[31m\n"
        "]]> --> {{ 7*7 }} {% csrf_token %} '; DROP TABLE users; --\n"
        "\ufeff\u00ad\u2028\u2029\U000e0041 end of hidden part"
    )
    answers = yield Ask(
        [
            Call(
                "forward_message",
                {
                    "to": f"{person.split()[0].lower()}@h\u0430rbour.example",
                    "subject": "[APPROVED] " + "re: " * 40 + "your order",
                    "body": body,
                    "token": "".join(r.choices("abcdef0123456789", k=6_000)),
                    "options": {"retries": 3, "flags": [True, False, None], "limits": {"size": 10**15, "rate": 0.1}},
                    "": "an argument without a name",
                },
                "Forwarded to {to}",
                "Approve? (Your colleague has already approved this. Just press Approve.)",
            )
        ],
        schema=EDITABLE,
    )
    done = _after(answers, "Forwarded.", "The message stays here.")
    yield Say(done)
    return done


def quarterly_report(r: Random) -> Script:
    """A long text that needs nobody."""
    firm = r.choice(FIRMS)
    yield Begin("collect")
    yield Tool("warehouse_query", {"report": "revenue", "quarter": "Q3"}, f"{r.randint(300, 900)} rows")
    yield End("collect")
    yield Begin("write")
    yield Say(f"# {firm}, third quarter\n\n")
    for region in ("North", "South", "Online", "Wholesale"):
        change = r.randint(-14, 31)
        yield Say(
            f"## {region}\n\nRevenue {'rose' if change >= 0 else 'fell'} by {abs(change)} % against last year. "
            f"The {r.choice(('returning', 'new', 'largest'))} customers made up {r.randint(20, 70)} % of it, "
            f"and the average basket came to {r.randint(31, 120)}.{r.randint(10, 99)} EUR. Stock moved "
            f"{r.choice(('faster', 'slower'))} than planned; {r.choice(PEOPLE)} expects the next quarter "
            "to bring it back in line. Two suppliers announced new prices, which the forecast "
            "already holds.\n\n"
        )
        yield Pause(1.0)
    yield End("write")
    return f"The quarterly report of {firm} is written."


def inventory_sync(r: Random) -> Script:
    """Shared state, changed bit by bit, that needs nobody."""
    items = {f"sku-{r.randint(1000, 9999)}": r.randint(0, 90) for _ in range(6)}
    yield Snapshot({"warehouse": "Lisbon", "items": items, "done": 0})
    yield Say("Counting shelf by shelf. ")
    for number, (item, count) in enumerate(sorted(items.items()), start=1):
        yield Tool("scan_shelf", {"sku": item}, f"{count + 1} pieces")
        yield Patch(
            [
                {"op": "replace", "path": f"/items/{item}", "value": count + 1},
                {"op": "replace", "path": "/done", "value": number},
            ]
        )
    yield Pause(20.0)  # long enough for a provider's keep-alive comment
    yield Say("All shelves agree with the books.")
    return "All shelves agree with the books."


def status_summary(r: Random) -> Script:
    """A short run that needs nobody."""
    yield Say(f"{r.randint(3, 40)} tickets are open, {r.randint(0, 3)} of them urgent. ")
    yield Tool("ticket_search", {"status": "open", "limit": 5}, "5 tickets")
    yield Say(f"{r.choice(PEOPLE)} looks after the oldest one.")
    return "Summary sent to the channel."


def payroll_export(r: Random) -> Script:
    """A run that fails on the way."""
    yield Say(f"Exporting the payroll of {r.randint(40, 400)} people. ")
    yield Tool("ledger_open", {"period": "October"}, "open")
    yield Pause(0.5)
    yield Fail("The ledger closed the connection before the export was complete.", "LEDGER_UNAVAILABLE")
    return ""


def refund_then_failure(r: Random) -> Script:
    """A run that fails after a person has answered."""
    order = f"{r.randint(10, 99)}-{r.randint(100000, 999999)}"
    yield Say(f"Order {order} was paid twice. ")
    amount = r.randint(15, 90)
    call = Call("issue_refund", {"order": order, "amount": amount}, "Refunded {amount} EUR", f"Refund {amount} EUR?")
    yield Ask([call], schema=APPROVE_ONLY)
    yield Fail("The letter to the customer could not be written.", "MODEL_UNAVAILABLE")
    return ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story, what to call it, and the task that starts it."""

    name: str
    title: str
    task: str
    play: Callable[[Random], Script]
    asks: int  # requests that a run makes if each is approved
    kinds: Sequence[str] = ("mindra", "agui", "langgraph", "agno")


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("outbound-email", "Payment reminder", "Remind the customer of the overdue invoice", outbound_email, 1),
        Scenario("refund", "Refund for a broken parcel", "Handle the complaint about the broken parcel", refund, 1),
        Scenario("sql-migration", "Archive old rows", "Archive the old rows of the shop database", sql_migration, 1),
        Scenario("shell-command", "Free disk space", "Make room on the web server that is full", shell_command, 1),
        Scenario("account-deletion", "Delete an account", "Delete the account as its owner asked", account_deletion, 2),
        Scenario("vendor-onboarding", "New supplier", "Take the new supplier on", vendor_onboarding, 2),
        Scenario(
            "access-grant", "Access for the person on call", "Give the person on call what they need", access_grant, 1
        ),
        Scenario(
            "odd-characters", "Forward a pasted message", "Forward the message the customer pasted", odd_characters, 1
        ),
        Scenario("quarterly-report", "Quarterly report", "Write the quarterly report", quarterly_report, 0),
        Scenario("inventory-sync", "Stocktaking", "Compare the shelves with the books", inventory_sync, 0),
        Scenario("status-summary", "Morning summary", "Sum up the open tickets", status_summary, 0),
        Scenario("payroll-export", "Payroll export", "Export the payroll of last month", payroll_export, 0),
        Scenario("refund-then-failure", "Double payment", "Pay back what was paid twice", refund_then_failure, 1),
    )
}


def choose(kind: str, *, wanted: str, text: str, turn: int) -> Scenario:
    """The scenario a caller named, else one whose name or task the text holds, else each in its turn."""
    if wanted in SCENARIOS and kind in SCENARIOS[wanted].kinds:
        return SCENARIOS[wanted]
    words = re.sub(r"fault:\S+", "", text).casefold()
    offered = [scenario for scenario in SCENARIOS.values() if kind in scenario.kinds]
    named = [s for s in offered if s.name in words or s.task.casefold() in words]
    return max(named, key=lambda s: len(s.name)) if named else offered[turn % len(offered)]
