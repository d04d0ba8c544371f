"""LangGraph behind its AG-UI adapter, with the outcome of AG-UI 1.0; below `/legacy` without, as is the default."""

import langgraph_graphs as graphs
import recorder
from ag_ui_langgraph import LangGraphAgent, add_langgraph_fastapi_endpoint
from fastapi import FastAPI
from langgraph.checkpoint.memory import InMemorySaver

app = FastAPI()


def offer(path: str, graph: object) -> None:
    modern = LangGraphAgent(name=path, graph=graph, emit_interrupt_outcome=True)
    add_langgraph_fastapi_endpoint(app, modern, f"/{path}")
    add_langgraph_fastapi_endpoint(app, LangGraphAgent(name=path, graph=graph), f"/legacy/{path}")


offer("node", graphs.asking_node("schema", checkpointer=InMemorySaver()))
offer("typed", graphs.asking_node("type", checkpointer=InMemorySaver()))
offer("own", graphs.asking_node("nothing", checkpointer=InMemorySaver()))
offer("hitl", graphs.middleware("batched", checkpointer=InMemorySaver()))
offer("percall", graphs.middleware("per_call", checkpointer=InMemorySaver()))

if __name__ == "__main__":
    recorder.serve(app)
