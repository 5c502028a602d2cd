"""The registry of flows: a kind has topics, grants, schemas and channels because it is listed here."""

from typing import Any, Final

from streams.cluster.flow import CLUSTER
from streams.flow import Flow
from streams.topic import Declaration

SIMPLE_FLOWS: Final[tuple[Flow[Any, Any, Any], ...]] = ()
"""Kinds with one input topic, served by the generic agent, view and table of rows."""

FLOWS: Final[tuple[Declaration, ...]] = (CLUSTER, *SIMPLE_FLOWS)
"""All flows."""
