"""Agent frameworks themselves, each in a virtual environment of its own, as Countersign's providers.

`agents/` are programs that run there, with nothing of Countersign's: a framework's own server over a scripted model.
"""
