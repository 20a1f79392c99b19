"""Products, their variants and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Redirect
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.uploads import client_gone, upload_call
from ingest_api.cursors import DEFAULT_LIMIT, MAX_LIMIT, cursor_behind, id_of
from ingest_api.intake import Intake
from ingest_api.json_values import TrueOrFalse
from ingest_api.notifications import NewsHub
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.product_catalogue import ProductCatalogue
from ingest_api.product_change import Change, ChangeKind, ChangeRequest, ChangeStatus
from ingest_api.product_changes import ProductChanges
from ingest_api.product_form import NewImageOperation, ReplacedImageOperation
from ingest_api.product_images import ProductImages
from ingest_api.product_keys import weight_of
from ingest_api.product_wait import ChangeWait
from ingest_api.products import Product, ProductImage, ProductRecords, Variant, variant_values
from ingest_api.repositories.products import ProductRepository
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.storage.stores import Stores

PRESIGNED_SECONDS = 900
FOR_THE_READER = "private, max-age=600"
FOR_A_MINUTE = "public, max-age=60"

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Weight = Annotated[str, BeforeValidator(weight_of)]

STATUS_OF_KIND: Mapping[ChangeKind, int] = MappingProxyType(
    {
        ChangeKind.UPLOAD_IMAGE: 201,
        ChangeKind.REPLACE_IMAGE: 200,
        ChangeKind.DELETE_IMAGE: 204,
        ChangeKind.DELETE_VARIANT: 204,
        ChangeKind.CHANGE_WEIGHT: 200,
        ChangeKind.DELETE_PRODUCT: 204,
    }
)


class ProductBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name


class NewVariantBody(BaseModel):
    """`weight` names a folder of the bucket, such as 250g."""

    model_config = ConfigDict(extra="forbid")

    weight: Weight
    isActive: TrueOrFalse = True


class VariantBody(BaseModel):
    """What is absent stays as it is."""

    model_config = ConfigDict(extra="forbid")

    weight: Weight | None = None
    isActive: TrueOrFalse | None = None


class VariantAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    weight: str
    is_active: bool


class ImageAnswer(msgspec.Struct, rename="camel"):
    """`fileName` is the key in the bucket."""

    id: UUID
    file_name: str
    variant_weight: str
    image_type: str
    image_url: str


class ProductAnswer(msgspec.Struct, rename="camel"):
    id: UUID
    name: str
    variants: list[VariantAnswer]
    images: list[ImageAnswer]
    created_at: datetime
    updated_at: datetime


class ProductList(msgspec.Struct, rename="camel"):
    products: list[ProductAnswer]
    next_cursor: str | None


class ProductJobAnswer(msgspec.Struct, rename="camel"):
    """A change of files that goes on, or has ended; `result` is what the call would have answered."""

    job_id: UUID
    product_id: UUID
    kind: ChangeKind
    status: ChangeStatus
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProductDesk:
    """What calls about products need, as one dependency."""

    catalogue: ProductCatalogue
    changes: ProductChanges
    images: ProductImages
    waiting: ChangeWait
    records: ProductRecords

    @classmethod
    def of(
        cls, unit_of_work: UnitOfWork, intake: Intake, stores: Stores, hub: NewsHub, settings: IngestSettings
    ) -> Self:
        database, changes = unit_of_work.database, ProductChanges(unit_of_work)
        return cls(
            ProductCatalogue(unit_of_work),
            changes,
            ProductImages(changes, intake, stores.staging, database),
            ChangeWait(database, hub, places=settings.waiting_answers, seconds=settings.product_change_wait_seconds),
            ProductRecords(stores.bucket),
        )

    async def change(self, change_id: UUID) -> Response[Any]:
        """The answer once the change has ended; 202 with its job at the deadline. Raises the Problem that it met."""
        change = await self.waiting.wait(change_id)
        job_headers = {"Location": f"{ProductController.path}/jobs/{change_id}"}
        if change is None or not change.is_finished:
            job = {"jobId": change_id, "status": "waiting"} if change is None else self.job(change)
            return Response(job, status_code=202, headers=job_headers)
        if change.error is not None:
            raise change.error.problem()
        return Response(self._result(change), status_code=STATUS_OF_KIND[change.kind])

    def job(self, change: Change) -> ProductJobAnswer:
        error = change.error if change.is_finished else None
        return ProductJobAnswer(
            job_id=change.id,
            product_id=change.product_id,
            kind=change.kind,
            status=change.status,
            result=self._result(change),
            error=None if error is None else {"code": error.code, "detail": error.detail, "step": error.step},
            created_at=change.created_at,
            finished_at=change.finished_at,
        )

    def product(self, product: Product, images: Sequence[ProductImage] = ()) -> ProductAnswer:
        return msgspec.convert(self.records.product(product, images), ProductAnswer)

    def _result(self, change: Change) -> dict[str, Any] | None:
        if change.result is None or change.kind is ChangeKind.CHANGE_WEIGHT:
            return change.result
        return self.records.image(change.result)


class ProductController(Controller):
    """What changes files answers when the change has ended, or 202 with a job at the deadline; for admins."""

    path = "/admin/products"
    tags = ("Products",)
    guards = (require(Role.ADMIN),)

    @get(summary="List products")
    async def list_products(
        self,
        products: NamedDependency[ProductDesk],
        limit: Limit = DEFAULT_LIMIT,
        cursor: FromQuery[str | None] = None,
        q: Annotated[str | None, QueryParameter(min_length=1, max_length=200)] = None,
    ) -> ProductList:
        """Newest first, each with its variants and images; `nextCursor` is null on the last page.

        `q` is in the names, whatever their case.
        """
        found = await products.catalogue.newest(id_of(cursor), limit + 1, q)
        next_cursor = cursor_behind([product for product, _ in found], limit)
        return ProductList([products.product(product, images) for product, images in found[:limit]], next_cursor)

    @post(summary="Add a product", status_code=201)
    async def add(self, data: JSONBody[ProductBody], products: NamedDependency[ProductDesk]) -> ProductAnswer:
        return products.product(await products.catalogue.add(data.name))

    @get("/jobs/{job_id:uuid}", summary="Read a change of a product's files")
    async def read_job(self, job_id: FromPath[UUID], products: NamedDependency[ProductDesk]) -> ProductJobAnswer:
        """`status` is waiting, active, completed or failed; jobs are kept for 7 days after their end."""
        change = await products.waiting.read(job_id)
        if change is None:
            raise Problem(404, "not_found", "There is no such job; finished ones are removed after their time.")
        return products.job(change)

    @get("/{product_id:uuid}", summary="Read a product")
    async def read(self, product_id: FromPath[UUID], products: NamedDependency[ProductDesk]) -> ProductAnswer:
        return products.product(*await products.catalogue.read(product_id))

    @patch("/{product_id:uuid}", summary="Rename a product")
    async def rename(
        self, product_id: FromPath[UUID], data: JSONBody[ProductBody], products: NamedDependency[ProductDesk]
    ) -> ProductAnswer:
        return products.product(*await products.catalogue.rename(product_id, data.name))

    @delete("/{product_id:uuid}", summary="Delete a product", status_code=204)
    async def remove(
        self, request: SignedInRequest, product_id: FromPath[UUID], products: NamedDependency[ProductDesk]
    ) -> Response[None]:
        """With its variants, its images and their files; a failure leaves everything as it was."""
        return await _changed(products, request, product_id, ChangeKind.DELETE_PRODUCT, ChangeRequest())

    # --- variants -------------------------------------------------------------------------------------------------

    @post("/{product_id:uuid}/variants", summary="Add a variant", status_code=201)
    async def add_variant(
        self, product_id: FromPath[UUID], data: JSONBody[NewVariantBody], products: NamedDependency[ProductDesk]
    ) -> VariantAnswer:
        variant = await products.catalogue.add_variant(product_id, data.weight, is_active=data.isActive)
        return _variant(variant)

    @patch("/{product_id:uuid}/variants/{variant_id:uuid}", summary="Change a variant")
    async def change_variant(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        variant_id: FromPath[UUID],
        data: JSONBody[VariantBody],
        products: NamedDependency[ProductDesk],
    ) -> Response[VariantAnswer | ProductJobAnswer]:
        """Another weight moves the files of all its images: they are copied and checked, the records switch, the old
        files go. `isActive` touches no file."""
        if not data.model_fields_set:
            raise InvalidFields(FieldError("body", "must have at least one of weight and isActive"))
        if data.weight is None:
            return Response(_variant(await products.catalogue.set_active(product_id, variant_id, data.isActive)))
        wanted = ChangeRequest(variant_id=variant_id, weight=data.weight, is_active=data.isActive)
        return await _changed(products, request, product_id, ChangeKind.CHANGE_WEIGHT, wanted)

    @delete("/{product_id:uuid}/variants/{variant_id:uuid}", summary="Delete a variant", status_code=204)
    async def remove_variant(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        variant_id: FromPath[UUID],
        products: NamedDependency[ProductDesk],
    ) -> Response[None]:
        """With its images and their files."""
        wanted = ChangeRequest(variant_id=variant_id)
        return await _changed(products, request, product_id, ChangeKind.DELETE_VARIANT, wanted)

    # --- images ---------------------------------------------------------------------------------------------------

    @post(
        "/{product_id:uuid}/images",
        summary="Add an image",
        status_code=201,
        request_max_body_size=None,
        operation_class=NewImageOperation,
    )
    async def add_image(
        self, request: SignedInRequest, product_id: FromPath[UUID], products: NamedDependency[ProductDesk]
    ) -> Response[ImageAnswer | ProductJobAnswer]:
        """multipart/form-data: `file`, `variantId`, `imageType`."""
        with client_gone():
            change_id = await products.images.receive(product_id, None, upload_call(request))
        return await products.change(change_id)

    @put(
        "/{product_id:uuid}/images/{image_id:uuid}",
        summary="Replace an image",
        request_max_body_size=None,
        operation_class=ReplacedImageOperation,
    )
    async def replace_image(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        image_id: FromPath[UUID],
        products: NamedDependency[ProductDesk],
    ) -> Response[ImageAnswer | ProductJobAnswer]:
        """multipart/form-data: `file`, and `variantId` or `imageType` where those change too."""
        with client_gone():
            change_id = await products.images.receive(product_id, image_id, upload_call(request))
        return await products.change(change_id)

    @delete("/{product_id:uuid}/images/{image_id:uuid}", summary="Delete an image", status_code=204)
    async def remove_image(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        image_id: FromPath[UUID],
        products: NamedDependency[ProductDesk],
    ) -> Response[None]:
        """With its files; a failure restores the record."""
        wanted = ChangeRequest(image_id=image_id)
        return await _changed(products, request, product_id, ChangeKind.DELETE_IMAGE, wanted)


class ProductImageAddressController(Controller):
    """Where the images of products are read when the bucket has no public address."""

    path = "/product-images"
    tags = ("Files",)

    @get("/{image_id:uuid}", summary="Read an image of a product", status_code=302, security=[{}])
    async def read(
        self, image_id: FromPath[UUID], database: NamedDependency[Database], stores: NamedDependency[Stores]
    ) -> Redirect:
        """A redirect to the file in the bucket, by an address that is valid for a while."""
        async with database.connection() as connection:
            image = await ProductRepository(connection).image(image_id)
        if image is None or image.is_hidden or stores.bucket is None:
            raise Problem(404, "not_found", "There is no such image, or it is not there yet.")
        if image.is_missing and await stores.bucket.stat(image.file.object_key) is None:
            raise Problem(404, "not_found", "The file is missing; it comes back when it is restored.")
        public = stores.bucket.public_url(image.file.object_key)
        address = public or stores.bucket.presigned_get(image.file.object_key, expires_in_seconds=PRESIGNED_SECONDS)
        # A presigned address opens the file for whoever has it, so no shared cache may hand it on.
        return Redirect(address, headers={"Cache-Control": FOR_A_MINUTE if public else FOR_THE_READER})


async def _changed(
    desk: ProductDesk, request: SignedInRequest, product_id: UUID, kind: ChangeKind, wanted: ChangeRequest
) -> Response[Any]:
    return await desk.change(await desk.changes.ask(product_id, kind, wanted, request.user.user_id))


def _variant(variant: Variant) -> VariantAnswer:
    return msgspec.convert(variant_values(variant), VariantAnswer)
