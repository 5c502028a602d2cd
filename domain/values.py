"""What the values of the domain are made of: immutable, and equal when their members are.

Structs of msgspec: one is made, changed, read from JSON and written in a third to a half of the time that a
frozen dataclass takes, and making values is most of what a decision costs. No other module here knows the
library (docs/decisions/0010).
"""

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

__all__ = ["UNSET", "Meta", "Struct", "UnsetType", "field", "replace"]
