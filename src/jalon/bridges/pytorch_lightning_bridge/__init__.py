"""The bridge to Lightning under its older name."""

from jalon.bridges.lightning_bridge import adapter, join

__all__ = ["adapter", "join"]
