"""Does one fault of a plan, whatever kind it is."""

from collections.abc import Mapping
from typing import Final

from tests.chaos.broker_faults import DOING_TO_BROKERS
from tests.chaos.faults import DOING, Doing
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Fault

EVERY_KIND: Final[Mapping[str, Doing]] = {**DOING, **DOING_TO_BROKERS}


async def inject(fleet: Fleet, fault: Fault) -> None:
    """Do one fault from its beginning to its end. Raises: NotReady: a role did not come back."""
    fleet.note(f"{fault}: begins")
    await EVERY_KIND[fault.kind](fleet, fault)
    fleet.note(f"{fault.kind} {fault.target}: over")
