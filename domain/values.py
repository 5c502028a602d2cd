"""The building block of the domain's values, which are immutable, and equal if their members are.

They are Structs of msgspec. Making, changing, decoding and encoding one takes a third to a half of the time
of a frozen dataclass, and making values is most of the cost of a decision. No other module here imports the
library (docs/decisions/0010).
"""

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

__all__ = ["UNSET", "Meta", "Struct", "UnsetType", "field", "replace"]
