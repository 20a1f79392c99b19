"""What a handler may raise, and what the consumer makes of it."""

from __future__ import annotations


class MessageError(Exception):
    """A message could not be handled.

    `code` is a stable snake_case name that callers and dashboards may match on; `detail` is the sentence that the
    person who sent the message reads.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class PermanentError(MessageError):
    """This message will never succeed: it goes to the dead-letter topic at once, without another attempt."""


class TransientError(MessageError):
    """This message may succeed later: it uses up one attempt and is retried with growing delays."""


class Postponed(MessageError):
    """Something that only some messages need is away, e.g. the bucket: try again later without using up an attempt.

    Other messages of the partition go on; see InfrastructureUnavailable for what stops them all.
    """


class InfrastructureUnavailable(Exception):
    """Without this the service can handle nothing: no attempt is used up and the consumer holds its partition.

    `dependency` names what is away ("postgresql", "kafka", "disk").
    """

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(dependency, detail)
        self.dependency = dependency
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.dependency} is unavailable: {self.detail}"


def in_one_piece(error: Exception) -> str:
    """The error as `code: sentence`, for whoever reads one text alone; what is away is told as `kafka_away` and so.

    Pages have words for these codes.
    """
    if isinstance(error, MessageError):
        return str(error)
    if isinstance(error, InfrastructureUnavailable):
        return f"{error.dependency}_away: {error.detail}"
    return f"unexpected_error: {type(error).__name__}: {error}"


def decisive(error: Exception) -> Exception:
    """The error that decides what becomes of the message.

    A task group wraps what its tasks raised; of several errors an absent dependency counts first, then a postponement.
    """
    if not isinstance(error, ExceptionGroup):
        return error
    errors = [decisive(part) for part in error.exceptions]
    for kind in (InfrastructureUnavailable, AlreadyHandled, Postponed, PermanentError, MessageError):
        for candidate in errors:
            if isinstance(candidate, kind):
                return candidate
    return errors[0]


class AlreadyHandled(Exception):
    """The inbox holds this delivery already: the handler stops here and the message counts as handled."""
