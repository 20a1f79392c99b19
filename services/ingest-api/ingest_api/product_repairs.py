"""Records of images brought in line with what is stored: as repairs that reconciler wants, or when the bucket tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from ingest_api.product_keys import ProductKey, weight_of
from ingest_api.products import ImageFile, Product, ProductImage, Variant
from ingest_api.repositories.products import ProductRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    BucketObjectV1,
    ProductImageType,
    RecordRepair,
    RecordRepairResult,
    RecordsRepairedV1,
    RepairRecordsV1,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import Postponed, TransientError
from shared.storage.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.object_store import ObjectInfo, ObjectStore, content_type_of, digest
from shared.storage.stores import Stores

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 8
IN_CHANGE = "in_change"


class Refused(Exception):
    """This one repair is not done: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Seen:
    """An object of the bucket, read; `on_disk` when the disk holds the same bytes under the same key."""

    size_bytes: int
    sha256: str
    on_disk: bool


class ProductRepairs:
    """Does what is wanted as far as it still fits: what has changed meanwhile, or is in a change, is left alone."""

    def __init__(self, unit_of_work: UnitOfWork, stores: Stores) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores

    async def repair(self, command: RepairRecordsV1, delivery: Delivery) -> None:
        """The records, the facts of them and the answer are one transaction. Raises Postponed while a store is away."""
        seen = await self._look(command.repairs)
        async with self._unit_of_work.begin(delivery) as transaction:
            step = _Repair(transaction, command.product_id, command.plan_id)
            product = await step.products.locked(command.product_id)
            results = [await step.one(product, wanted, seen.get(wanted.item_id)) for wanted in command.repairs]
            transaction.publish(
                RecordsRepairedV1(
                    plan_id=command.plan_id,
                    product_id=command.product_id,
                    results=tuple(results),
                    repaired_at=datetime.now(UTC),
                )
            )

    async def hear_of(self, event: BucketObjectV1, delivery: Delivery) -> None:
        """Look at an object that something happened to: a new one gets a record, another one a new checksum.

        What happened is a hint and may be long ago, so only what is there now counts, and hearing of it twice changes
        nothing. A record whose object is gone is marked and stays: its file may be brought back. Raises Postponed while
        a store is away or a change may leave the object as it is, TransientError when it came or left while it was
        looked at.
        """
        key = ProductKey.parse(event.object_key)
        if key is None:
            return
        try:
            if await self._is_as_recorded(event.object_key):
                return
            seen = await self._see(event.object_key)
        except StoreUnavailable as error:
            raise Postponed("store_away", str(error)) from error
        async with self._unit_of_work.begin(delivery) as transaction:
            step = _Repair(transaction, key.product_id, plan_id=None)
            product = await step.products.locked(key.product_id)
            if product is None or product.is_hidden:
                return
            info = await self._require_unmoved(event.object_key, seen)
            gets_record = info is not None and not info.is_nobodys
            try:
                await step.follow(event.object_key, seen if isinstance(seen, Seen) else None, gets_record=gets_record)
            except Refused as refusal:
                if refusal.code == IN_CHANGE and isinstance(seen, Seen):
                    # Other bytes of the same length are seen in no listing: nobody else would find them.
                    raise Postponed(IN_CHANGE, refusal.detail) from refusal
                log.info("what the bucket told is left alone", extra={"key": event.object_key, "code": refusal.code})

    async def _require_unmoved(self, object_key: str, seen: Seen | Refused) -> ObjectInfo | None:
        """The object. To be called under the product's lock: a change may have begun and ended since it was read.

        Without this look a record could be made of a file that the change has taken away.
        """
        try:
            info = None if self._stores.bucket is None else await self._stores.bucket.stat(object_key)
        except StoreUnavailable as error:
            raise Postponed("store_away", str(error)) from error
        if (info and info.size_bytes) != (seen.size_bytes if isinstance(seen, Seen) else None):
            raise TransientError("object_changing", f"{object_key!r} came, left or changed while it was looked at")
        return info

    async def _is_as_recorded(self, object_key: str) -> bool:
        """A cheap look, which is enough for the many things that this system does to the bucket itself."""
        async with self._unit_of_work.database.connection() as connection:
            image = await ProductRepository(connection).image_of_key(object_key)
        if image is None or image.is_missing or self._stores.bucket is None:
            return False
        info = await self._stores.bucket.stat(object_key)
        return info is not None and (info.size_bytes, info.sha256) == (image.file.size_bytes, image.file.sha256)

    async def _look(self, repairs: Sequence[RecordRepair]) -> Mapping[UUID, Seen | Refused]:
        """Read the objects of which a record is to be made or refreshed, before anything is locked."""
        slots = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look(wanted: RecordRepair) -> Seen | Refused:
            async with slots:
                try:
                    return await self._see(wanted.object_key)
                except StoreRefused as error:
                    return Refused(error.code, error.detail)

        unknown = [one for one in repairs if one.action == "make" or (one.action == "refresh" and one.sha256 is None)]
        try:
            found = await asyncio.gather(*(look(wanted) for wanted in unknown))
        except StoreUnavailable as error:
            raise Postponed("store_away", str(error)) from error
        return {wanted.item_id: seen for wanted, seen in zip(unknown, found, strict=True)}

    async def _see(self, object_key: str) -> Seen | Refused:
        if self._stores.bucket is None:
            return Refused("s3_not_configured", "no bucket is configured")
        sha256, size_bytes = await _digest_or_none(self._stores.bucket, object_key)
        if sha256 is None:
            return Refused("object_missing", f"the bucket holds no {object_key!r} any more")
        on_disk = (await _digest_or_none(self._stores.disk, object_key))[0] == sha256
        return Seen(size_bytes, sha256, on_disk)


async def _digest_or_none(store: ObjectStore, key: str) -> tuple[str | None, int]:
    try:
        read = await digest(store, key)
    except ObjectNotFound:
        return None, 0
    return read.sha256, read.size_bytes


class _Repair:
    """Repairs of one product, under its lock."""

    def __init__(self, transaction: Transaction, product_id: UUID, plan_id: UUID | None) -> None:
        """`plan_id` is the plan that wants them; None for what the bucket tells."""
        self._transaction = transaction
        self._product_id = product_id
        self._plan_id = plan_id
        self.products = ProductRepository(transaction.connection)
        self._now = datetime.now(UTC)

    async def one(
        self, product: Product | None, wanted: RecordRepair, seen: Seen | Refused | None
    ) -> RecordRepairResult:
        try:
            if product is None or product.is_hidden:
                raise Refused("product_unknown", f"there is no product {self._product_id}")
            if isinstance(seen, Refused):
                raise seen
            image_id = await self._carry_out(wanted, seen)
        except Refused as refusal:
            return RecordRepairResult(item_id=wanted.item_id, done=False, code=refusal.code, detail=refusal.detail)
        sha256 = seen.sha256 if seen is not None else wanted.sha256
        return RecordRepairResult(item_id=wanted.item_id, done=True, image_id=image_id, sha256=sha256)

    async def follow(self, object_key: str, seen: Seen | None, *, gets_record: bool) -> None:
        """Bring the record of a key in line with its object. Raises Refused while a change works on it.

        `gets_record`: where there is none it is made. Not so of what an undo has brought back as nobody's.
        """
        image = await self.products.image_of_key(object_key)
        if image is None:
            if seen is not None and gets_record:
                await self._make(RecordRepair(item_id=new_id(), action="make", object_key=object_key), seen)
            return
        is_as_recorded = seen is not None and (seen.size_bytes, seen.sha256) == (
            image.file.size_bytes,
            image.file.sha256,
        )
        if is_as_recorded and not image.is_missing:
            return
        self._require_settled(image)
        if seen is not None and not is_as_recorded:
            await self._refresh(RecordRepair(item_id=new_id(), action="refresh", object_key=object_key), seen)
        elif image.is_missing != (seen is None):
            await self.products.mark_image(image.id, is_missing=seen is None)

    async def _carry_out(self, wanted: RecordRepair, seen: Seen | None) -> UUID:
        match wanted.action:
            case "make":
                assert seen is not None, "what a record is made of was read"
                return await self._make(wanted, seen)
            case "remove":
                return await self._remove(wanted)
            case "restore":
                return await self._restore(wanted)
            case "refresh":
                return await self._refresh(wanted, seen)

    async def _make(self, wanted: RecordRepair, seen: Seen) -> UUID:
        key = self._key(wanted)
        if (there := await self.products.image_of_key(wanted.object_key)) is not None:
            self._require_settled(there)
            raise Refused("already_recorded", f"image {there.id} is recorded under this key")
        if wanted.size_bytes not in (None, seen.size_bytes):
            raise Refused("changed", "the object is not what it was when the repair was planned")
        variant = await self._variant(key)
        file = ImageFile(
            variant_id=variant.id,
            weight=variant.weight,
            image_type=key.image_type,
            object_key=wanted.object_key,
            mime_type=wanted.mime_type or content_type_of(wanted.object_key),
            size_bytes=seen.size_bytes,
            sha256=seen.sha256,
            on_disk=seen.on_disk,
        )
        image = ProductImage(new_id(), self._product_id, file, 1, change_id=None, is_hidden=False)
        await self.products.add_image(image)
        self._transaction.publish(image.changed(self._now))
        return image.id

    async def _remove(self, wanted: RecordRepair) -> UUID:
        image = await self._recorded(wanted)
        if wanted.size_bytes not in (None, image.file.size_bytes):
            raise Refused("changed", "the record is not what it was when the repair was planned")
        await self.products.keep_removed(image)
        await self.products.remove_images([image])
        self._transaction.publish(image.changed(self._now, is_removed=True))
        if self._plan_id and await self.products.remove_made_variant(image.file.variant_id, self._plan_id):
            self._transaction.publish((await self.products.touch(self._product_id)).changed())
        return image.id

    async def _restore(self, wanted: RecordRepair) -> UUID:
        if wanted.image_id is None:
            raise Refused("image_unknown", "a record is brought back by its id")
        if (there := await self.products.image(wanted.image_id)) is not None:
            if there.product_id == self._product_id and there.file.object_key == wanted.object_key:
                return there.id
            raise Refused("changed", "a record with this id is there, of another file")
        await self._require_free_key(wanted.object_key)
        kept = await self.products.removed(wanted.image_id, self._product_id)
        if kept is None:
            raise Refused("not_kept", "what was recorded of this image is not kept any more")
        key = self._key(wanted)
        product = await self.products.get(self._product_id)
        variant = product.variant(UUID(kept["variant_id"])) if product else None
        if variant is None or variant.weight != key.weight:
            raise Refused("variant_unknown", f"the product has no variant {key.weight!r} any more")
        file = ImageFile(
            variant_id=variant.id,
            weight=variant.weight,
            image_type=ProductImageType(kept["image_type"]),
            object_key=kept["object_key"],
            mime_type=kept["mime_type"],
            size_bytes=kept["size_bytes"],
            sha256=kept["sha256"],
            on_disk=kept["on_disk"],
        )
        # Above the version under which its removal was told.
        version = int(kept["version"]) + 1
        image = ProductImage(wanted.image_id, self._product_id, file, version, change_id=None, is_hidden=False)
        await self.products.add_image(image)
        await self.products.forget_removed(image.id)
        self._transaction.publish(image.changed(self._now))
        return image.id

    async def _refresh(self, wanted: RecordRepair, seen: Seen | None) -> UUID:
        image = await self._recorded(wanted)
        size_bytes, sha256 = wanted.size_bytes, wanted.sha256
        if seen is not None:
            if wanted.size_bytes not in (None, seen.size_bytes):
                raise Refused("changed", "the object is not what it was when the repair was planned")
            size_bytes, sha256 = seen.size_bytes, seen.sha256
        if size_bytes is None:
            raise Refused("incomplete", "a repair that names a checksum names the size too")
        await self.products.refresh_image(
            image.id, size_bytes=size_bytes, sha256=sha256, mime_type=wanted.mime_type, on_disk=None
        )
        refreshed = await self.products.image(image.id)
        assert refreshed is not None
        self._transaction.publish(refreshed.changed(self._now))
        return image.id

    # --- what has to hold -------------------------------------------------------------------------------------------

    async def _recorded(self, wanted: RecordRepair) -> ProductImage:
        image = await self.products.image_of_key(wanted.object_key)
        if image is None or image.product_id != self._product_id:
            raise Refused("not_recorded", f"no image of this product is recorded under {wanted.object_key!r}")
        if wanted.image_id not in (None, image.id):
            raise Refused("changed", f"image {image.id} is recorded under this key now")
        if wanted.expected_sha256 not in (None, image.file.sha256):
            raise Refused("changed", f"the record of image {image.id} tells of other bytes now")
        self._require_settled(image)
        return image

    def _require_settled(self, image: ProductImage) -> None:
        if not image.is_settled:
            raise Refused(IN_CHANGE, f"the files of image {image.id} are being changed")

    async def _require_free_key(self, object_key: str) -> None:
        if (there := await self.products.image_of_key(object_key)) is not None:
            raise Refused("already_recorded", f"image {there.id} is recorded under this key")
        if await self.products.is_awaited(self._product_id, object_key):
            raise Refused(IN_CHANGE, f"a change is moving an image from or to {object_key!r}")

    def _key(self, wanted: RecordRepair) -> ProductKey:
        key = ProductKey.parse(wanted.object_key)
        if key is None or key.product_id != self._product_id:
            raise Refused("outside_layout", f"{wanted.object_key!r} is no key of an image of this product")
        return key

    async def _variant(self, key: ProductKey) -> Variant:
        """The variant that a path names. Where there is none it is made, disabled, so that nobody sells it."""
        await self._require_free_key(str(key))
        product = await self.products.get(self._product_id)
        assert product is not None
        if (variant := product.variant_of_weight(key.weight)) is not None:
            return variant
        if product.is_taken(key.weight):
            raise Refused(IN_CHANGE, f"a variant is on its way from or to the weight {key.weight!r}")
        try:
            is_weight = weight_of(key.weight) == key.weight
        except ValueError:
            is_weight = False
        if not is_weight:
            raise Refused("outside_layout", f"{key.weight!r} can't be the weight of a variant")
        variant_id = new_id()
        await self.products.add_variant(
            variant_id, self._product_id, key.weight, is_active=False, made_by_plan=self._plan_id
        )
        product = await self.products.touch(self._product_id)
        self._transaction.publish(product.changed())
        made = product.variant(variant_id)
        assert made is not None
        return made
