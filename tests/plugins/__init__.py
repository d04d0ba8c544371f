"""Loaded from pyproject.toml before pytest-django reads the settings; a conftest.py comes too late for that."""
