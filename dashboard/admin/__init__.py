"""Admin of people, tokens, provider accounts and runs; signing in happens at one door, the dashboard's."""

from dashboard.admin import people, providers, runs, site, tokens

__all__ = ["people", "providers", "runs", "site", "tokens"]
site.furnish()
