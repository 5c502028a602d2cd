"""Why a recovery command did nothing; each text says what to do."""

from domain.errors import ControlPlaneError


class NotComparable(ControlPlaneError):
    """Kafka and PostgreSQL do not speak of the same, or not yet."""


class RebuildRefused(ControlPlaneError):
    """This Kafka must not be filled, or these rows cannot fill it."""
