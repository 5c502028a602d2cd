"""Members that nobody may read in passing, in whatever record of whatever kind they turn up.

Nothing here can decrypt. A secret is a JWE in compact form (RFC 7516, section 7.1), which the web edge makes
of what a user sends; a Kafka client makes its own.
"""

import re
from typing import Final

SECRET_MEMBERS: Final = ("serviceAccountSigningKey",)

MASK: Final = "***"
"""What readers see in the place of a secret."""

JWE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
