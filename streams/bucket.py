"""Buckets of tokens on Kafka, between web and their agent alone (operations contract, section 3)."""

from typing import Final

from domain.bucket import BUCKET, BucketState, Changed, Commands
from streams.flow import Flow
from streams.kafka.roles import WEB

FLOW: Final[Flow[BucketState, Commands, Changed]] = Flow(
    kind=BUCKET,
    messages=Commands,
    commands="bucket.commands",
    state="bucket-state",
    apis=(),
    followers=(WEB,),
    helpers=(WEB,),
    internal=True,
    shown="bucket",
)
