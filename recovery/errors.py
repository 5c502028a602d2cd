"""The reasons for which a recovery command does nothing; each text gives the remedy."""

from domain.errors import ControlPlaneError


class NotComparable(ControlPlaneError):
    """Kafka and PostgreSQL do not hold the same data, or not yet."""


class RebuildRefused(ControlPlaneError):
    """This Kafka must not be filled, or these rows cannot be turned into records."""
