"""pydantic-ai, whoever keeps the history: where the server does, the account may say so."""

from dataclasses import replace

from tests.frameworks.cases.base import Case

CLIENT = Case("pydantic-ai", "pydantic_ai", "/", "pydantic-ai", edit=True, reason=True, several="each")
SERVER = replace(
    CLIENT, name="pydantic-ai-server", path="/server", dialect="pydantic-ai-server", pin="pydantic-ai-server"
)
STORE = replace(SERVER, name="pydantic-ai-store", path="/store", long=True)
UNPINNED = [
    replace(CLIENT, name=f"{case.name}-unpinned", path=case.path, long=True) for case in (SERVER, STORE)
]  # is taken too

CASES = [CLIENT, SERVER, STORE, *UNPINNED]
