"""A kind of entity on Kafka: its topics, its messages, and what it announces.

A simple kind has exactly one input topic, which holds its commands and the wakes that its own clock
publishes. So a replay sees the same records in the same order and decides the same, and one offset per state
is enough to recognise redelivery. A kind with more inputs must take care of that itself, as clusters do
(`agents/clusters.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Generic, NamedTuple, get_args

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta, Struct

from domain.entity import C, Command, E, Kind, V
from domain.errors import MalformedRecord, Rejected
from streams.cause import Cause, Woken, carried
from streams.claims import CLAIM
from streams.decoding import decode_body, decoder_of
from streams.headers import (
    FOLLOWED,
    KEYED,
    AnnouncementHeaders,
    ChangelogHeaders,
    CommandHeaders,
    ResultHeaders,
    answered_by_state,
    event_id_of,
    headers_of,
)
from streams.json import encode, from_millis, rfc3339, utc
from streams.kafka.roles import (
    COMMANDER,
    EVENTS_READER,
    EXECUTOR,
    GRPC,
    REBUILD,
    RECORDER,
    RELAY,
    RESULTS_READER,
    SINK,
    VERIFY,
    WEB,
    WORKER,
    Use,
)
from streams.messages import EntityResult, Time
from streams.topic import STATE_HISTORY, Key, Message, Topic, TopicSpec
from streams.writing.outputs import Output

WAKE_KEY: Final = b"@wake"
"""The key of wakes, which cannot be an entity's id."""


class Wake(Struct, frozen=True, kw_only=True, tag="wake", tag_field="type"):
    """Some entity in this partition wants to be woken; the owner of the partition knows which.

    Attributes:
        at: The clock of the worker that asks, a second opinion for what cannot be undone.
        committed: The offset from which that worker would have read this partition again.
    """

    at: Time
    committed: Annotated[int, Meta(ge=0)] = 0


class Reference(NamedTuple):
    """A member of commands that names an entity of another kind.

    Attributes:
        code, text: Of the refusal where there is no such entity; without a text the usual one.
        always: Whether it must exist; if not, operators decide.
    """

    member: str
    kind: str
    code: str = "RESOURCE_NOT_FOUND"
    text: str = ""
    always: bool = False


def _nothing(event: object, after: object, cause: Cause) -> Iterable[Output]:
    return ()


_wake_decoder: Final = decoder_of(Wake)


@dataclass(frozen=True, kw_only=True)
class Flow(Generic[V, C, E]):
    """One kind on Kafka.

    A kind declares its topics without the prefix of a deployment, and descriptions are made of these names.
    `deployed` makes the flow that agents and web processes work with.

    Attributes:
        messages: The union of its commands.
        commands, state, results: Its input topic, its changelog, and the topic of its results.
        public: The topics that every client may read, with the type of their values.
        public_key: What their keys are, where these are not the ids of the entities.
        apis: The roles that serve it to clients.
        followers: Other roles that follow its changelog.
        refers: The entity of another kind that a create names.
        queue: The topic that executors take work from; empty for kinds whose entities are no work.
        queued: The type of its values, where it is none of the public topics.
        helpers: Other roles that send its commands, in the course of their work.
        internal: Whether only other kinds send its commands, and no client may.
        kept: Whether the sink keeps what its commands bring.
        joins: What it announces on topics that another flow declares, by topic.
        announce: The public records that an event leads to.
        shown: The member of the state that readers see (its document).
        results: The topic that tells what became of commands; empty where nobody waits for that.
        retention: How long records of its commands and public topics are kept.
    """

    kind: Kind[V, C, E]
    messages: Any
    commands: str
    state: str
    public: Mapping[str, type] = field(default_factory=dict)
    public_key: Key | None = None
    apis: tuple[str, ...] = (WEB,)
    followers: tuple[str, ...] = ()
    refers: Reference | None = None
    queue: str = ""
    queued: type | None = None
    helpers: tuple[str, ...] = ()
    internal: bool = False
    kept: bool = False
    joins: Mapping[str, Message] = field(default_factory=dict)
    announce: Callable[[E, V, Cause], Iterable[Output]] = _nothing
    shown: str
    results: str = "command-results"
    retention: timedelta = timedelta(days=7)

    def __getstate__(self) -> dict[str, Any]:
        """What another process takes over: not the decoders, which it makes for itself."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def deployed(self, full_name: Callable[[str], str]) -> "Flow[V, C, E]":
        """The flow of the same kind on the topics of one deployment.

        Args:
            full_name: Returns the full name of a declared topic (`Topics.of`).
        """

        def announce(event: E, after: V, cause: Cause) -> Iterator[Output]:
            for output in self.announce(event, after, cause):
                yield output._replace(topic=full_name(output.topic))

        return replace(
            self,
            commands=full_name(self.commands),
            state=full_name(self.state),
            results=full_name(self.results) if self.results else "",
            public={full_name(name): value for name, value in self.public.items()},
            queue=full_name(self.queue) if self.queue else "",
            announce=announce,
        )

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Its topics, and the topic of results that all kinds share."""
        return (
            self._input,
            self._changelog,
            *(self._announcements(name) for name in self._announced_on),
            *((_results_on(self.results),) if self.results else ()),
        )

    @property
    def schemas(self) -> tuple[Message, ...]:
        """The messages on its topics, with those shared by all kinds last."""
        name = self.kind.name
        return (
            Message(
                name=f"{name}-command",
                title=f"{name.capitalize()} command",
                types=get_args(self.messages) or (self.messages,),
                one_object=True,
                from_outside=True,
            ),
            Message(name=f"{name}-state", title=f"{name.capitalize()} state", types=(self.kind.state,)),
            *(
                Message(name=_schema_of(topic), title=topic, types=(value,))
                for topic, value in self._announced_on.items()
            ),
            *self.joins.values(),
            RESULT,
            WAKE,
            CLAIM,
        )

    @property
    def _announced_on(self) -> Mapping[str, type]:
        """Its public topics and its queue, with the type of their values."""
        return self.public if self.queued is None else {**self.public, self.queue: self.queued}

    @property
    def _key(self) -> Key:
        return Key(f"The id of the {self.kind.name}")

    @property
    def _executors(self) -> tuple[str, ...]:
        """The role that does the work of this kind, if its entities are work."""
        return (EXECUTOR,) if self.queue else ()

    @property
    def _senders(self) -> tuple[str, ...]:
        """Our roles that send its commands, apart from workers."""
        own = () if self.internal else (*self.apis, RELAY)
        return tuple(dict.fromkeys((*own, *self._executors, *self.helpers)))

    @property
    def _agent(self) -> str:
        """The name of this kind's agent in AsyncAPI."""
        return f"{self.kind.name} agent"

    @property
    def _input(self) -> Topic:
        # A worker publishes wakes, commands from other kinds, and records from the wrong partition.
        clients, commander = ((), ()) if self.internal else (("clients",), (COMMANDER,))
        sink = (SINK,) if self.kept else ()
        return Topic(
            spec=TopicSpec(
                name=self.commands,
                key=self._key,
                retention=self.retention,
                least_retention=timedelta(days=1),
                from_outside=True,
                dead_letters=True,
            ),
            messages=(f"{self.kind.name}-command", WAKE.name),
            about="Commands in one order, and among them the wakes of the clock.",
            headers=CommandHeaders,
            senders=(*clients, *self._senders, "worker"),
            receivers=(self._agent, *sink),
            use=Use(
                reads=(WORKER, *sink),
                writes=(*self._senders, WORKER, *commander),
                parks=(WORKER, *sink),
                checks=(*self._senders, *sink),
            ),
        )

    @property
    def _changelog(self) -> Topic:
        return Topic(
            spec=TopicSpec(name=self.state, key=self._key, history=STATE_HISTORY, dead_letters=True),
            messages=(f"{self.kind.name}-state", CLAIM.name),
            about="Changelog of the table of this kind; a null value removes an entity.",
            headers=ChangelogHeaders,
            senders=(self._agent,),
            receivers=(self._agent, *self.apis, *self.followers, "sink"),
            use=Use(
                reads=(*self.apis, *self.followers, WORKER, SINK, VERIFY, REBUILD),
                writes=(WORKER, REBUILD),
                parks=(SINK,),
                checks=(*self.apis, *self.followers, SINK),
            ),
        )

    def _announcements(self, name: str) -> Topic:
        executors = self._executors if name == self.queue else ()
        recorders = (RECORDER,) if name in self.public else ()
        clients = ("clients", "recorder") if recorders else ()
        return Topic(
            spec=TopicSpec(
                name=name,
                key=self.public_key or self._key,
                retention=self.retention,
                dead_letters=True,
            ),
            messages=(_schema_of(name),),
            about="One record per change, in order per key, at least once.",
            headers=AnnouncementHeaders,
            senders=(self._agent,),
            receivers=(*clients, *executors),
            use=Use(
                reads=(*((EVENTS_READER,) if recorders else ()), *recorders, *executors),
                writes=(WORKER, *((REBUILD,) if executors else ())),
                parks=(*recorders, *executors),
                checks=(*recorders, *executors),
            ),
        )

    def announced(self, events: Iterable[E], after: V, cause: Cause, *, producer: str) -> list[Output]:
        """The public records that events lead to, which say by which service they were published."""
        outputs = [output for event in events for output in self.announce(event, after, cause)]
        return [output._replace(headers={**output.headers, "producer": producer}) for output in outputs]

    @cached_property
    def decode(self) -> Callable[[bytes], V]:
        """A function that decodes a value of its changelog."""
        return msgspec.json.Decoder(self.kind.state).decode

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return decoder_of(self.messages)

    def read_command(self, value: bytes) -> Any:
        """Decode a command. Raises: Rejected: `VALIDATION_FAILED`."""
        return decode_body(value, self._decoder)

    def read(self, record: ConsumerRecord) -> tuple[C, Cause]:
        """Decode a command of its input. Raises: MalformedRecord: `invalid_schema` or `bad_key`."""
        try:
            message = self.read_command(record.value)
        except Rejected as refusal:
            raise MalformedRecord("invalid_schema", refusal.text) from None
        at = from_millis(record.timestamp)
        if record.key != message.id.encode():
            raise MalformedRecord("bad_key", "the key must be the id in the body")
        headers = headers_of(record)
        return message, Cause(
            message.command_id,
            at,
            carried(headers),
            keyed=headers.get(KEYED) == "true",
            answered_by_state=answered_by_state(headers),
            event_id=event_id_of(headers),
        )

    @staticmethod
    def read_wake(record: ConsumerRecord) -> Woken:
        """Decode a record under `WAKE_KEY`. Raises: MalformedRecord: `invalid_schema`.

        Every client that may send commands may send a wake. It gains nothing by that, because the broker's
        clock decides what is due.
        """
        try:
            wake = decode_body(record.value, _wake_decoder)
            return Woken(from_millis(record.timestamp), utc(wake.at, field="at"), wake.committed)
        except Rejected as refusal:
            raise MalformedRecord("invalid_schema", refusal.text) from None

    def command(self, command: Command, headers: Mapping[str, str]) -> Output:
        """The record of a command, from web or from another kind."""
        return Output(self.commands, command.id.encode(), encode(command), headers)

    def following(self, command: Command, cause: Cause) -> Output:
        """The record of a command that follows from an event. Nobody waits for its result."""
        return self.command(command, {**FOLLOWED, **cause.headers})

    def wake(self, partition: int, at: datetime, *, committed: int = 0) -> Output:
        """The record that wakes the due entities of a partition.

        Args:
            committed: The offset from which whoever asks would read the partition again.
        """
        wake = Wake(at=rfc3339(at), committed=committed)
        return Output(self.commands, WAKE_KEY, encode(wake), partition=partition)


RESULT: Final = Message(name="command-result", title="Result of a command", types=(EntityResult,))
WAKE: Final = Message(name="wake", title="Wake of what is due", types=(Wake,), key=WAKE_KEY.decode())


def _results_on(name: str) -> Topic:
    """The topic of results that all simple kinds share; each of them declares the same one."""
    return Topic(
        spec=TopicSpec(
            name=name,
            key=Key("The id of the entity"),
            retention=timedelta(days=1),
            least_retention=timedelta(hours=1),
        ),
        messages=(RESULT.name,),
        about=(
            "What became of commands, for all kinds but clusters. Each that was refused or sent again has"
            " one. One that was applied has one unless its sender follows the changelog (`answered_by`),"
            " as web does."
        ),
        headers=ResultHeaders,
        senders=("worker",),
        receivers=("clients", "web", "grpc", "executor"),
        use=Use(reads=(WEB, GRPC, EXECUTOR, RESULTS_READER), writes=(WORKER,), checks=(WEB, GRPC, EXECUTOR)),
    )


def _schema_of(topic: str) -> str:
    """The schema's name of a public topic: `resource-created` for `resource.created`."""
    return topic.replace(".", "-")
