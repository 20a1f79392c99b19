"""`mediabus upload`: pictures in, from files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from deploy.cli.profile import state_folder
from deploy.cli.session import Session
from deploy.cli.upload_journal import UploadJournal
from deploy.cli.upload_run import (
    DEFAULT_PARALLEL,
    DEFAULT_WAIT_SECONDS,
    AsLines,
    EveryType,
    MakeSender,
    Parallel,
    Paths,
    Timeout,
    Wait,
    run_uploads,
)
from deploy.cli.uploading import Uploader


class Strategy(StrEnum):
    LOCAL_ONLY = "local_only"
    LOCAL_FIRST = "local_first"
    S3_ONLY = "s3_only"
    BOTH = "both"


def upload(
    paths: Paths,
    entity_type: Annotated[str, typer.Option(help="What kind of thing the pictures belong to, such as product.")],
    entity_id: Annotated[str | None, typer.Option(help="Which one of them.")] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Where they are stored; else as the settings say.")] = None,
    every_type: EveryType = False,
    parallel: Parallel = DEFAULT_PARALLEL,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_WAIT_SECONDS,
    again: Annotated[
        bool, typer.Option("--again", help="Send also what was sent before: it becomes media of its own.")
    ] = False,
    as_json: AsLines = False,
) -> None:
    """Upload pictures.

    The same command goes on where one was broken off: what was sent is not sent again while its medium is there, though
    it was moved or lies twice. Files that are refused are told of and don't stop the others: the exit code is then 4.
    """
    wanted = {"entityType": entity_type, "entityId": entity_id, "storageStrategy": strategy and strategy.value}
    fields = {name: value for name, value in wanted.items() if value}

    @contextmanager
    def opened(session: Session) -> Iterator[MakeSender]:
        with _journal(session) as journal:
            yield lambda stop, on_bytes: Uploader(session, stop, on_bytes, journal, fields, sends_again=again)

    run_uploads(
        paths,
        Uploader.id_names,
        opened,
        every_type=every_type,
        parallel=parallel,
        wait_seconds=timeout if wait else None,
        as_json=as_json,
    )


def _journal(session: Session) -> UploadJournal:
    account = session.ask("GET", "/api/auth/me").body["user"]["id"]
    return UploadJournal(state_folder(os.environ), session.address, account)
