"""How well a cluster is, as operators say it (operations contract, section 1.1)."""

from typing import Literal

Health = Literal["healthy", "warning", "critical"]
