"""Which errors of the database the sink waits out, and which speak of a row."""

import asyncpg
import pytest

from domain.errors import SinkUnavailable
from sinks.errors import RowsRefused, explained


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("as the server put it"),
        asyncpg.CannotConnectNowError("as the server put it"),
        asyncpg.AdminShutdownError("as the server put it"),
        asyncpg.QueryCanceledError("as the server put it"),
        asyncpg.ReadOnlySQLTransactionError("as the server put it"),
        asyncpg.DiskFullError("as the server put it"),
        asyncpg.OutOfMemoryError("as the server put it"),
        asyncpg.TooManyConnectionsError("as the server put it"),
        asyncpg.PostgresIOError("as the server put it"),
        asyncpg.InvalidPasswordError("as the server put it"),
        asyncpg.InvalidCatalogNameError("as the server put it"),
        asyncpg.UndefinedTableError("as the server put it"),
        asyncpg.DeadlockDetectedError("as the server put it"),
        asyncpg.IdleInTransactionSessionTimeoutError("as the server put it"),
        asyncpg.DataCorruptedError("as the server put it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_waited_out(error: Exception):
    assert isinstance(explained(error), SinkUnavailable)


@pytest.mark.parametrize(
    ("error", "of_a_pooler"),
    [
        (asyncpg.ProtocolViolationError("unsupported startup parameter: jit"), True),
        (asyncpg.ProtocolViolationError("no more connections allowed"), False),
        (asyncpg.InvalidSQLStatementNameError("prepared statement does not exist"), True),
        (asyncpg.DuplicatePreparedStatementError("prepared statement already exists"), True),
    ],
    ids=["a parameter", "another protocol error", "a statement that is gone", "a statement that is there"],
)
def test_a_pooler_is_named(error: Exception, of_a_pooler: bool):
    waited_out = explained(error)
    assert isinstance(waited_out, SinkUnavailable)
    assert of_a_pooler == ("DATABASE_POOLER=transaction" in str(waited_out))


@pytest.mark.parametrize(
    ("error", "unclear"),
    [
        (asyncpg.DataError("as the server put it"), False),
        (asyncpg.StringDataRightTruncationError("as the server put it"), False),
        (asyncpg.UntranslatableCharacterError("as the server put it"), False),
        (asyncpg.CheckViolationError("as the server put it"), False),
        (asyncpg.CardinalityViolationError("as the server put it"), False),
        (asyncpg.StatementTooComplexError("as the server put it"), True),
        (asyncpg.ProgramLimitExceededError("as the server put it"), True),
        (asyncpg.InternalServerError("as the server put it"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_row_is_refused(error: Exception, unclear: bool):
    refusal = explained(error)
    assert isinstance(refusal, RowsRefused)
    assert unclear == refusal.unclear


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.PostgresSyntaxError("as the server put it"),
        asyncpg.UndefinedFunctionError("as the server put it"),
        asyncpg.DatatypeMismatchError("as the server put it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_ours_stays_what_it_is(error: Exception):
    assert explained(error) is error
