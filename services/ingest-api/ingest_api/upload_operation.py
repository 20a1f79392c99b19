"""How the API's description tells of what is uploaded or posted in a body that no signature declares."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema

from ingest_api.idempotency import KEY_MAX_CHARACTERS
from ingest_api.multipart_upload import FILE_FIELD
from ingest_api.upload_fields import (
    ALT_MAX_CHARACTERS,
    ENTITY_ID_MAX_CHARACTERS,
    ENTITY_TYPE,
    TITLE_MAX_CHARACTERS,
)
from shared.events import StorageStrategy


def _text(description: str, *, max_length: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.STRING, description=description, max_length=max_length)


def _idempotency_key(description: str) -> Parameter:
    schema = _text(description, max_length=KEY_MAX_CHARACTERS)
    return Parameter(name="Idempotency-Key", param_in="header", required=False, schema=schema)


FORM = Schema(
    type=OpenAPIType.OBJECT,
    required=[FILE_FIELD, "entityType"],
    properties={
        FILE_FIELD: Schema(
            type=OpenAPIType.STRING,
            content_media_type="application/octet-stream",
            description="The picture; its bytes tell its type.",
        ),
        "entityType": Schema(type=OpenAPIType.STRING, pattern=f"^{ENTITY_TYPE.pattern}$"),
        "entityId": _text("What the picture belongs to.", max_length=ENTITY_ID_MAX_CHARACTERS),
        "alt": _text("What is to be seen, for those who can't.", max_length=ALT_MAX_CHARACTERS),
        "title": _text("What it is called.", max_length=TITLE_MAX_CHARACTERS),
        "storageStrategy": Schema(type=OpenAPIType.STRING, enum=[strategy.value for strategy in StorageStrategy]),
    },
)


@dataclass
class PhotoOperation(Operation):
    """The operation with its form and header."""

    def __post_init__(self) -> None:
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=[FILE_FIELD],
            properties={
                FILE_FIELD: (FORM.properties or {})[FILE_FIELD],
                "sha256": _text("What the file must have, in hexadecimal digits.", max_length=64),
            },
        )
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)
        said = "The same key and bytes lead to the same photo."
        self.parameters = [*(self.parameters or []), _idempotency_key(said)]


MANY_FILES_FORM = Schema(
    type=OpenAPIType.OBJECT,
    required=[FILE_FIELD, "entityType"],
    properties={
        **(FORM.properties or {}),
        FILE_FIELD: Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream"),
            description="Pictures, or one ZIP archive of them; their bytes tell their types.",
        ),
    },
)


@dataclass
class BulkUploadOperation(Operation):
    """The operation with its form."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content={"multipart/form-data": OpenAPIMediaType(schema=MANY_FILES_FORM)}, required=True
        )


@dataclass
class ReplacedFileOperation(Operation):
    """The operation with its form."""

    def __post_init__(self) -> None:
        form = Schema(
            type=OpenAPIType.OBJECT,
            required=[FILE_FIELD],
            properties={FILE_FIELD: (FORM.properties or {})[FILE_FIELD]},
        )
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@dataclass
class UploadOperation(Operation):
    """The operation with its form and headers."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=FORM)}, required=True)
        self.parameters = [
            *(self.parameters or []),
            _idempotency_key("The same key and bytes lead to the same job."),
            Parameter(
                name="Prefer",
                param_in="header",
                required=False,
                schema=_text("`wait=N`: answer with the outcome if it is there within N seconds."),
            ),
        ]


@dataclass
class AnnouncementOperation(Operation):
    """The operation with its header."""

    def __post_init__(self) -> None:
        said = "The same key and announcement lead to the same job."
        self.parameters = [*(self.parameters or []), _idempotency_key(said)]


@dataclass
class NotificationOperation(Operation):
    """The operation with what stores send."""

    def __post_init__(self) -> None:
        records = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT))
        body = Schema(type=OpenAPIType.OBJECT, properties={"Records": records})
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True)
