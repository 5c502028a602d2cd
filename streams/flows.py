"""The registry of flows: a kind has its topics, grants, schemas and channels because it is listed here."""

from typing import Any, Final

from streams.cluster.flow import CLUSTER
from streams.flow import Flow
from streams.topic import Declaration

SIMPLE_FLOWS: Final[tuple[Flow[Any, Any, Any], ...]] = ()
"""Kinds with one input topic, which the same agent, view, and writer of rows serve."""

FLOWS: Final[tuple[Declaration, ...]] = (CLUSTER, *SIMPLE_FLOWS)
"""Everything that has topics."""
