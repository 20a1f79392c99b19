"""What a change of a product's files will do, decided from the product and its images, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from ingest_api.problem_details import Conflict, FieldError, InvalidFields, Problem
from ingest_api.product_change import ChangeError, ChangeKind, ChangeRequest, StagedImage
from ingest_api.product_keys import ProductKey
from ingest_api.product_saga import StepFailure, Work, parts_of
from ingest_api.products import ImageFile, Product, ProductImage, Variant
from shared.events import SET_ASIDE_PREFIX, ProductImageType

FILES_DIFFER = frozenset({"conflict", "changed", "source_missing", "checksum_mismatch", "copy_differs"})
"""Codes of file steps that found other files than the records tell of."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The work on the files, and which records the change takes meanwhile.

    `takes` maps images to the files that their records switch to; `arrives` is a new record. `hides` them all: nobody
    sees an image whose files arrive or leave.
    """

    work: Work
    takes: Mapping[UUID, ImageFile | None] = field(default_factory=dict)
    arrives: ProductImage | None = None
    hides: bool = False


def plan_of(
    change_id: UUID, kind: ChangeKind, request: ChangeRequest, product: Product, images: Sequence[ProductImage]
) -> Plan:
    """Raises a Problem when the change makes no sense, 404 for what is not there (any more)."""
    match kind:
        case ChangeKind.UPLOAD_IMAGE:
            return _upload(change_id, request, product, images)
        case ChangeKind.REPLACE_IMAGE:
            return _replacement(request, product, images)
        case ChangeKind.DELETE_IMAGE:
            return _removal(change_id, [seen_image(images, request.image_id)])
        case ChangeKind.DELETE_VARIANT:
            variant = seen_variant(product, request.variant_id)
            return _removal(change_id, [image for image in _seen(images) if image.file.variant_id == variant.id])
        case ChangeKind.DELETE_PRODUCT:
            return _removal(change_id, _seen(images))
        case ChangeKind.CHANGE_WEIGHT:
            return _weight(request, product, images)


def seen_variant(product: Product, variant_id: UUID | None) -> Variant:
    """Raises Problem 404."""
    variant = product.variant(variant_id) if variant_id else None
    if variant is None:
        raise Problem(404, "not_found", "This product has no such variant.")
    return variant


def seen_image(images: Sequence[ProductImage], image_id: UUID | None) -> ProductImage:
    """Raises Problem 404."""
    for image in _seen(images):
        if image.id == image_id:
            return image
    raise Problem(404, "not_found", "This product has no such image.")


def require_free_weight(product: Product, weight: str, besides: UUID | None = None) -> None:
    """Raises Problem 409 when another variant has the weight, or moves from or to it."""
    if product.is_taken(weight, besides):
        raise Problem(409, "weight_taken", f"Another variant of this product has the weight {weight!r}.")


def error_of(failure: StepFailure) -> ChangeError:
    """A failed step of the files in the words of HTTP."""
    detail = f"{failure.step} failed, everything is as it was before: {failure.code}: {failure.detail}"
    if failure.code in FILES_DIFFER:
        detail += "; check and repair the images of this product, then try again"
        return ChangeError(409, "files_differ", detail, failure.step)
    return ChangeError(502, "storage_failed", detail, failure.step)


def rollback_failed(error: ChangeError, failure: StepFailure, aside: str | None) -> ChangeError:
    """For a change whose way back failed too.

    What the records name is there, and the next repair tidies up the rest; but where files were set `aside`, some are
    nowhere else.
    """
    detail = f"{error.step} failed, and then {failure.step} on the way back: {failure.code}: {failure.detail}"
    if aside is not None:
        detail += f"; what could not be put back lies below {aside!r}"
    return replace(error, detail=detail)


def _upload(change_id: UUID, request: ChangeRequest, product: Product, images: Sequence[ProductImage]) -> Plan:
    assert request.upload is not None
    assert request.image_id is not None
    assert request.image_type is not None
    variant = _variant_of_form(product, request.variant_id)
    file = _arriving(product, variant, request.image_type, request.upload)
    image = ProductImage(request.image_id, product.id, file, 1, change_id, is_hidden=True)
    _require_free_key(images, file.object_key)
    return Plan(Work(copies=parts_of([file.arrivals_from(request.upload.staging_key)])), arrives=image, hides=True)


def _replacement(request: ChangeRequest, product: Product, images: Sequence[ProductImage]) -> Plan:
    assert request.upload is not None
    image = seen_image(images, request.image_id)
    variant = _variant_of_form(product, request.variant_id or image.file.variant_id)
    file = _arriving(product, variant, request.image_type or image.file.image_type, request.upload)
    _require_free_key(images, file.object_key)
    work = Work(
        copies=parts_of([file.arrivals_from(request.upload.staging_key)]), removals=parts_of([image.file.removals()])
    )
    return Plan(work, takes={image.id: file})


def _removal(change_id: UUID, images: Sequence[ProductImage]) -> Plan:
    work = Work(removals=parts_of(image.file.removals() for image in images))
    if len(work.removals) > 1:
        # One task puts back what it took away if it fails, but nothing that an earlier one did.
        folder = aside_folder(change_id)
        copies = parts_of(image.file.copies_aside(folder) for image in images)
        work = work.model_copy(update={"copies": copies, "sets_aside": True})
    return Plan(work, takes={image.id: None for image in images}, hides=True)


def aside_folder(change_id: UUID) -> str:
    """Where the files of a large removal wait for its end, in the bucket and on the disk."""
    return f"{SET_ASIDE_PREFIX}{change_id}/"


def _weight(request: ChangeRequest, product: Product, images: Sequence[ProductImage]) -> Plan:
    assert request.weight is not None
    variant = seen_variant(product, request.variant_id)
    require_free_weight(product, request.weight, besides=variant.id)
    if request.weight == variant.weight:
        return Plan(Work())
    moving = [image for image in _seen(images) if image.file.variant_id == variant.id]
    targets = {image.id: image.file.moved_to(request.weight) for image in moving}
    work = Work(
        copies=parts_of(image.file.copies_to(targets[image.id]) for image in moving),
        removals=parts_of(image.file.removals() for image in moving),
    )
    return Plan(work, takes=targets)


def _arriving(product: Product, variant: Variant, image_type: ProductImageType, upload: StagedImage) -> ImageFile:
    return ImageFile(
        variant_id=variant.id,
        weight=variant.weight,
        image_type=image_type,
        object_key=str(ProductKey(product.id, variant.weight, image_type, upload.file_name)),
        mime_type=upload.mime_type,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        on_disk=upload.on_disk,
    )


def _variant_of_form(product: Product, variant_id: UUID | None) -> Variant:
    variant = product.variant(variant_id) if variant_id else None
    if variant is None:
        raise InvalidFields(FieldError("variantId", "names no variant of this product"))
    return variant


def _require_free_key(images: Sequence[ProductImage], object_key: str) -> None:
    if any(image.file.object_key == object_key for image in images):
        raise Conflict("file_of_another_image", f"{object_key!r} is the file of another image: send it once more.")


def _seen(images: Sequence[ProductImage]) -> list[ProductImage]:
    return [image for image in images if not image.is_hidden]
