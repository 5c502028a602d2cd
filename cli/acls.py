"""`clusterflow topics --acls`: its options, over `streams.kafka.acls`."""

from collections.abc import Sequence

import typer

from settings import Settings
from streams.kafka import acls, roles

# Stands for the name of a controller where none is given.
ANY_CONTROLLER = "my-controller"


def script(settings: Settings, principals: Sequence[str], controllers: Sequence[str]) -> str:
    """The commands that grant everything. Raises: BadParameter: an option names nobody that there is."""
    return acls.script(
        settings.topics,
        principals=dict(map(_principal, principals)),
        controllers=controllers or (ANY_CONTROLLER,),
    )


def _principal(option: str) -> tuple[str, str]:
    who, _, principal = option.partition("=")
    known = [*roles.ROLES, *roles.CLIENTS]
    if who not in known or ":" not in principal:
        raise typer.BadParameter(
            f"{option!r}: want WHO=TYPE:NAME, as in web=User:alice; WHO is one of {', '.join(known)}",
            param_hint="--principal",
        )
    return who, principal
