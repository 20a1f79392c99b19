"""Images of products from their first byte to the change that puts them in their places."""

from __future__ import annotations

from uuid import UUID

from ingest_api.intake import Intake, UploadCall
from ingest_api.multipart_upload import ENVELOPE_BYTES, ReceivedForm, boundary_of, read_form
from ingest_api.problem_details import Conflict
from ingest_api.product_change import ChangeKind, ChangeRequest, StagedImage
from ingest_api.product_changes import ProductChanges, no_such_product
from ingest_api.product_form import read_image_fields
from ingest_api.product_keys import file_name
from ingest_api.product_plans import seen_image
from ingest_api.repositories.products import ProductRepository
from ingest_api.request_body import RequestBody
from shared.db.pool import Database
from shared.events import StorageStrategy
from shared.identifiers import new_id
from shared.storage.staging import StagedFile, Staging

ENTITY_TYPE = "product"


class ProductImages:
    """Receives a picture into staging and asks for the change; nothing of it remains unless both are done."""

    def __init__(self, changes: ProductChanges, intake: Intake, staging: Staging, database: Database) -> None:
        self._changes = changes
        self._intake = intake
        self._staging = staging
        self._database = database
        self._feed = intake.feed

    async def receive(self, product_id: UUID, image_id: UUID | None, call: UploadCall) -> UUID:
        """The change that makes a new image of the body, or gives the named one another file.

        Raises a Problem for what is refused, ClientDisconnected, and InfrastructureUnavailable; no file is left then.
        """
        boundary = boundary_of(call.content_type)
        limit_bytes = self._feed.current().upload_limit_bytes
        most_bytes = limit_bytes + ENVELOPE_BYTES
        return await self._intake.take(
            call,
            lambda body: self._take(body, boundary, product_id, image_id, call.uploader, limit_bytes),
            most_bytes=most_bytes,
            turn_bytes=call.content_length or most_bytes,
        )

    async def _take(
        self,
        body: RequestBody,
        boundary: str,
        product_id: UUID,
        image_id: UUID | None,
        uploader: UUID,
        limit_bytes: int,
    ) -> UUID:
        await self._require(product_id, image_id)
        change_id = new_id()
        async with self._staging.receive(change_id, limit_bytes=limit_bytes) as writer:
            form = await read_form(body.next_chunk, boundary, writer)
            fields = read_image_fields(form, needs_slot=image_id is None)
            # A commit whose answer is lost may have begun the change: its staged file goes, and it fails without it.
            request = ChangeRequest(
                image_id=image_id or new_id(),
                variant_id=fields.variant_id,
                image_type=fields.image_type,
                upload=self._staged(form, change_id, await writer.commit()),
            )
            kind = ChangeKind.UPLOAD_IMAGE if image_id is None else ChangeKind.REPLACE_IMAGE
            return await self._changes.ask(product_id, kind, request, uploader, change_id)

    def _staged(self, form: ReceivedForm, file_id: UUID, staged: StagedFile) -> StagedImage:
        assert form.filename is not None
        assert form.picture_type is not None
        return StagedImage(
            staging_key=staged.key,
            file_name=file_name(form.filename, file_id, form.picture_type),
            mime_type=form.picture_type.value,
            size_bytes=staged.size_bytes,
            sha256=staged.sha256,
            on_disk=self._keeps_disk_copy(),
        )

    def _keeps_disk_copy(self) -> bool:
        of_type = self._feed.entity_type(ENTITY_TYPE)
        strategy = (of_type.strategy if of_type else None) or self._feed.current().default_storage_strategy
        return strategy is not StorageStrategy.S3_ONLY

    async def _require(self, product_id: UUID, image_id: UUID | None) -> None:
        """Refuse what can't be before the body is read."""
        if not self._feed.current().s3_enabled:
            detail = "Images of products are kept in the bucket, and S3 is switched off in the settings."
            raise Conflict("s3_off", detail)
        async with self._database.connection() as connection:
            products = ProductRepository(connection)
            product = await products.get(product_id)
            if product is None or product.is_hidden:
                raise no_such_product()
            if image_id is not None:
                image = await products.image(image_id)
                seen_image([image] if image is not None and image.product_id == product_id else [], image_id)
