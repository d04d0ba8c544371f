"""Rows for tests, each with the least that makes it valid; keyword arguments override."""

import hashlib
import itertools
from typing import Any

from approvals.models import ApprovalRequest, RequestStatus
from dashboard.models import User
from streams.models import Provider, Run, RunStatus

_count = itertools.count(1)


def user(**fields: Any) -> User:
    n = next(_count)
    made: User = User.objects.create_user(**{"username": f"person{n}", "password": "a long pass phrase", **fields})
    return made


def provider(**fields: Any) -> Provider:
    n = next(_count)
    return Provider.objects.create(
        **{"name": f"mindra-{n}", "kind": "mindra", "base_url": "http://127.0.0.1:9", **fields}
    )


def run(**fields: Any) -> Run:
    n = next(_count)
    fields.setdefault("provider", None)
    fields["provider"] = fields["provider"] or provider()
    return Run.objects.create(
        **{"external_id": f"exec_{n}", "status": RunStatus.STREAMING, "title": f"Run {n}", **fields}
    )


def request(**fields: Any) -> ApprovalRequest:
    n = next(_count)
    if "run" not in fields:
        fields["run"] = run()
    arguments = fields.setdefault("arguments", '{"to":"someone@shop.example"}')
    digest = hashlib.sha256(arguments.encode()).hexdigest()
    return ApprovalRequest.objects.create(
        **{
            "call_id": f"apr_{n}",
            "tool": "send_email",
            "input_sha256": digest,
            "canonical_sha256": digest,
            "opened_by_seq": 1,
            "status": RequestStatus.PENDING,
            "offers_reason": True,
            **fields,
        }
    )
