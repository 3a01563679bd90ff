"""PostgreSQL's and the network's errors in the bus's words.

A server that is away, restarts, has no more connections or disk, or takes no writes is Unavailable: nothing
is wrong with the events, and to repeat what was asked is safe, for nobody may know whether it was
committed. Everything else is a mistake of this program. No message holds a password: the driver's texts
name hosts, users and databases only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import exceptions as driver

from bus.errors import BusError, Unavailable
from services.request_vault.store.errors import VaultNoAccess, VaultUrlInvalid

COLLISIONS = (driver.UniqueViolationError, driver.DeadlockDetectedError, driver.SerializationError)
"""Another transaction was there first: what it did is visible to the next attempt."""

_FULL = (driver.DiskFullError,)
_BUSY = (driver.TooManyConnectionsError, driver.CannotConnectNowError, driver.OutOfMemoryError)
_NO_ACCESS = (
    driver.InvalidAuthorizationSpecificationError,
    driver.InvalidCatalogNameError,
    driver.InsufficientPrivilegeError,
)
_GONE = (driver.UndefinedTableError, driver.InvalidSchemaNameError)
_LOST = (
    driver.PostgresConnectionError,
    driver.OperatorInterventionError,
    driver.IdleInTransactionSessionTimeoutError,
    driver.LockNotAvailableError,
    driver.InsufficientResourcesError,
    driver.PostgresSystemError,
    driver.PostgresIOError,
    OSError,
    TimeoutError,
)


def unavailable(error: BaseException, server: str) -> BusError | None:
    """What a caller is told; None when the statement is at fault, not the server's condition."""
    if isinstance(error, _FULL):
        return Unavailable(f"the disk of {server}, which holds the vault, is full")
    if isinstance(error, driver.ReadOnlySQLTransactionError):
        return Unavailable(f"{server} takes no writes: is it a standby? ({_said(error)})")
    if isinstance(error, driver.DataCorruptedError | driver.IndexCorruptedError):
        return Unavailable(
            f"the vault's tables on {server} are damaged ({_said(error)}); restore them from a backup"
        )
    if isinstance(error, _NO_ACCESS):
        return Unavailable(f"{server} refuses access: {_said(error)}")
    if isinstance(error, _GONE):
        return Unavailable(f"the vault's tables on {server} are not there: {_said(error)}")
    if isinstance(error, _BUSY):
        return Unavailable(f"{server} takes no more work at the moment: {_said(error)}")
    if isinstance(error, _LOST) or is_closed(error):
        return Unavailable(f"{server} does not answer: {_said(error)}")
    return None


def cannot_open(error: BaseException, server: str) -> BusError | None:
    """As `unavailable`, while a vault is being opened: what trying again does not mend is CannotOpen."""
    if isinstance(error, _NO_ACCESS):
        return VaultNoAccess(f"{server} refuses access: {_said(error)}")
    if isinstance(error, driver.ClientConfigurationError | driver.CantChangeRuntimeParamError):
        return VaultUrlInvalid(f"{server}: {_said(error)}")
    if isinstance(error, driver.UndefinedObjectError | driver.InvalidParameterValueError):
        return VaultUrlInvalid(f"{server}: a setting in the URL is none of the server's: {_said(error)}")
    return unavailable(error, server)


def is_closed(error: BaseException) -> bool:
    """Whether the driver says that the connection is no more."""
    if isinstance(error, driver.InternalClientError):
        return True  # the protocol was cut in the middle of a message
    return (
        isinstance(error, driver.InterfaceError)
        and not isinstance(error, ValueError)  # of an argument, whose text may say anything
        and any(word in str(error) for word in ("closed", "closing", "terminated"))
    )


@contextmanager
def translated(server: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise unavailable(error, server) or error from error


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
