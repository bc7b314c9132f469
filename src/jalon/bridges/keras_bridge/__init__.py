"""Keras 3: what answers for its models, and what conducts a run in its ``fit``."""

from jalon.bridges.keras_bridge.adapter import KerasAdapter as adapter
from jalon.bridges.keras_bridge.conductor import join

__all__ = ["adapter", "join"]
