"""The LangGraph platform's own server, all of it in this process and in memory, with its graphs as assistants."""

import json
import os

import langgraph_graphs as graphs
import recorder

GRAPHS = ("typed", "own", "hitl", "percall")
os.environ |= {
    "DATABASE_URI": ":memory:",
    "REDIS_URI": "fake",
    "MIGRATIONS_PATH": "__inmem",
    "LANGGRAPH_RUNTIME_EDITION": "inmem",
    "LANGGRAPH_DISABLE_FILE_PERSISTENCE": "true",
    "LANGGRAPH_ALLOW_BLOCKING": "true",
    "LANGSMITH_LANGGRAPH_API_VARIANT": "local_dev",
    "LANGSMITH_TRACING": "false",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "N_JOBS_PER_WORKER": "4",
    "LANGSERVE_GRAPHS": json.dumps({name: f"langgraph_platform_agent:{name}" for name in GRAPHS}),
}


typed = graphs.asking_node("type")
own = graphs.asking_node("nothing")
hitl = graphs.middleware("batched")
percall = graphs.middleware("per_call")

if __name__ == "__main__":
    from langgraph_api.server import app

    recorder.serve(app)
