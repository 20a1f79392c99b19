"""What the stores and the parsers raise, in the words of HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ingest_api.problem_details import RETRY_AFTER_SECONDS, Problem, retry_after
from shared.storage.errors import InsufficientSpace, LimitExceeded, StoreRefused


@contextmanager
def storage_refusals() -> Iterator[None]:
    """Turn what a store raises into the Problem that its caller reads; an outage stays InfrastructureUnavailable."""
    try:
        yield
    except LimitExceeded as error:
        detail = f"A file may have {error.limit_bytes} bytes at most; this one is larger. Send a smaller one."
        raise Problem(413, "too_large", detail) from error
    except InsufficientSpace as error:
        detail = "There is no room left for the file. Nothing of it was kept; tell the operator, then send it again."
        raise Problem(507, "disk_full", detail, retry_after(60)) from error
    except StoreRefused as error:
        detail = "The file could not be stored. Nothing of it was kept; tell the operator, then send it again."
        raise Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS)) from error
