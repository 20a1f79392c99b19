"""The form of a product's image: what its text fields may say, and how the API's description tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from ingest_api.multipart_upload import FILE_FIELD, ReceivedForm, missing_fields
from ingest_api.problem_details import FieldError, InvalidFields
from shared.events import ProductImageType


@dataclass(frozen=True, slots=True)
class ImageFields:
    """Which slot an image is for; None leaves a replaced image where it is."""

    variant_id: UUID | None
    image_type: ProductImageType | None


def read_image_fields(form: ReceivedForm, *, needs_slot: bool) -> ImageFields:
    """Raises InvalidFields that names every field which is missing or wrong."""
    needed = {"variantId": "say which variant the image shows", "imageType": "say which slot the image is for"}
    errors = missing_fields(form, needed if needs_slot else {})
    variant_id: UUID | None = None
    image_type: ProductImageType | None = None
    if text := form.texts.get("variantId"):
        try:
            variant_id = UUID(text)
        except ValueError:
            errors.append(FieldError("variantId", "must be the id of a variant"))
    if text := form.texts.get("imageType"):
        try:
            image_type = ProductImageType(text)
        except ValueError:
            errors.append(FieldError("imageType", f"must be one of {', '.join(ProductImageType)}"))
    if errors:
        raise InvalidFields(*errors)
    return ImageFields(variant_id, image_type)


def _form(*required: str) -> Schema:
    return Schema(
        type=OpenAPIType.OBJECT,
        required=[FILE_FIELD, *required],
        properties={
            FILE_FIELD: Schema(
                type=OpenAPIType.STRING,
                content_media_type="application/octet-stream",
                description="The picture; its bytes tell its type.",
            ),
            "variantId": Schema(type=OpenAPIType.STRING, description="The variant that it shows."),
            "imageType": Schema(type=OpenAPIType.STRING, enum=[kind.value for kind in ProductImageType]),
        },
    )


def _body(form: Schema) -> RequestBody:
    return RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@dataclass
class NewImageOperation(Operation):
    """The operation with its form."""

    def __post_init__(self) -> None:
        self.request_body = _body(_form("variantId", "imageType"))


@dataclass
class ReplacedImageOperation(Operation):
    """The operation with its form."""

    def __post_init__(self) -> None:
        self.request_body = _body(_form())
