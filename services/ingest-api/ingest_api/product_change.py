"""One change of a product's files as somebody asked for it, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from ingest_api.problem_details import Problem
from ingest_api.product_saga import Position, Work
from shared.events import ProductImageType

ChangeStatus = Literal["waiting", "active", "completed", "failed"]


class ChangeKind(StrEnum):
    UPLOAD_IMAGE = "upload_image"
    REPLACE_IMAGE = "replace_image"
    DELETE_IMAGE = "delete_image"
    DELETE_VARIANT = "delete_variant"
    CHANGE_WEIGHT = "change_weight"
    DELETE_PRODUCT = "delete_product"


class StagedImage(BaseModel):
    """A picture that waits in staging; `file_name` is the name that its file will have."""

    model_config = ConfigDict(frozen=True)

    staging_key: str
    file_name: str
    mime_type: str
    size_bytes: int
    sha256: str
    on_disk: bool


class ChangeRequest(BaseModel):
    """What is wanted; which of the fields are given follows from the kind."""

    model_config = ConfigDict(frozen=True)

    image_id: UUID | None = None
    variant_id: UUID | None = None
    image_type: ProductImageType | None = None
    upload: StagedImage | None = None
    weight: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeError:
    """Why a change failed or is being taken back, in the words of HTTP; `step` is what failed of the files."""

    status: int
    code: str
    detail: str
    step: str | None = None

    @classmethod
    def of(cls, problem: Problem) -> ChangeError:
        return cls(problem.status, problem.code, problem.detail)

    def problem(self) -> Problem:
        return Problem(self.status, self.code, self.detail, members={"step": self.step} if self.step else None)


@dataclass(frozen=True, slots=True)
class Change:
    """A change; `position` and `work` are there while it is active."""

    id: UUID
    product_id: UUID
    kind: ChangeKind
    status: ChangeStatus
    request: ChangeRequest
    work: Work | None
    position: Position | None
    task_id: UUID | None
    error: ChangeError | None
    result: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.status in {"completed", "failed"}
