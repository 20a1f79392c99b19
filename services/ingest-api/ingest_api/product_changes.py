"""Changes of products' files: each step and the command that follows it are one transaction, so a crash loses nothing.

A change takes its records, then file tasks of s3-syncer work on the files, and their answers bring the change on. One
change of a product is active at a time; the others wait in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ingest_api.problem_details import Problem
from ingest_api.product_change import Change, ChangeError, ChangeKind, ChangeRequest
from ingest_api.product_plans import aside_folder, error_of, plan_of, rollback_failed
from ingest_api.product_saga import Move, Part, Position, Stage, Work, after, failure_of, first
from ingest_api.products import Product, ProductImage, image_values, variant_values
from ingest_api.repositories.product_changes import ProductChangeRepository
from ingest_api.repositories.products import ProductRepository
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import FileAt, FilePlace, FileStep, FileTaskEndedV1, RunFileTaskV1
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable

log = logging.getLogger(__name__)

MOST_WAITING = 100
REMIND_AFTER_SECONDS = 60.0
LOOK_EVERY_SECONDS = 15.0
DUE_AT_ONCE = 50
KEPT_SECONDS = 7 * 24 * 3600.0
REMOVED_RECORDS_KEPT_SECONDS = 30 * 24 * 3600.0
PRUNE_ROWS = 1000


class ProductChanges:
    """Takes wishes in, and follows the answers of s3-syncer."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def ask(
        self,
        product_id: UUID,
        kind: ChangeKind,
        request: ChangeRequest,
        requested_by: UUID,
        change_id: UUID | None = None,
    ) -> UUID:
        """Begin a change, or have it wait for its turn; the id under which it is followed.

        Raises a Problem when it makes no sense as things are, and 409 when too many wait.
        """
        async with self._unit_of_work.begin() as transaction:
            step = _Step(transaction)
            product = await step.products.locked(product_id)
            if product is None or product.is_hidden:
                raise no_such_product()
            is_busy, waiting = await step.changes.queue(product_id)
            if waiting >= MOST_WAITING:
                detail = f"{waiting} changes of this product wait for their turn: try again when they are done."
                raise Problem(409, "product_busy", detail)
            wanted_id = change_id or new_id()
            images = await step.products.images([product_id])
            plan_of(wanted_id, kind, request, product, images)
            change = await step.changes.add(wanted_id, product_id, kind, request, requested_by)
            if not is_busy:
                await step.begin(change, product)
            return change.id

    async def task_ended(self, event: FileTaskEndedV1, delivery: Delivery) -> None:
        """Bring the change on that waits for this task; others' tasks, and answers that come again, change nothing."""
        async with self._unit_of_work.begin(delivery) as transaction:
            step = _Step(transaction)
            waiting = await step.changes.of_task(event.task_id)
            if waiting is None:
                return
            product = await step.products.locked(waiting.product_id)
            # As it is under the lock: an answer that is told twice may have brought it on meanwhile.
            change = await step.changes.of_task(event.task_id)
            if change is None or product is None:
                return
            await step.go_on(change, product, event)

    async def run(self) -> None:
        """Ask again for tasks of which nothing was heard, and forget what is over; returns only by cancellation."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                await self.remind()
                async with self._unit_of_work.begin() as transaction:
                    step = _Step(transaction)
                    await step.changes.prune(KEPT_SECONDS, PRUNE_ROWS)
                    await step.products.prune_removed(REMOVED_RECORDS_KEPT_SECONDS, PRUNE_ROWS)
            except InfrastructureUnavailable as error:
                log.warning("could not look after changes of products", extra={"detail": str(error)})

    async def remind(self, after_seconds: float = REMIND_AFTER_SECONDS) -> None:
        """Ask again for the tasks of changes that are due: s3-syncer answers once more what it has answered before."""
        async with self._unit_of_work.begin() as transaction:
            for change in await ProductChangeRepository(transaction.connection).due(after_seconds, DUE_AT_ONCE):
                assert change.work is not None
                assert change.position is not None
                assert change.task_id is not None
                transaction.publish(_task(change, change.work, change.position, change.task_id))


class _Step:
    """One step of a change, in the transaction of its caller, who holds the product's lock."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.products = ProductRepository(transaction.connection)
        self.changes = ProductChangeRepository(transaction.connection)
        self._now = datetime.now(UTC)

    async def begin(self, change: Change, product: Product) -> None:
        """Take the records and set out. Raises a Problem, having done nothing, when it makes no sense any more."""
        request = change.request
        images = await self.products.images([product.id])
        plan = plan_of(change.id, change.kind, request, product, images)
        if plan.arrives is not None:
            await self.products.add_image(plan.arrives)
        taken = await self.products.take_images(change.id, plan.takes, is_hidden=plan.hides)
        self._tell(taken)
        match change.kind:
            case ChangeKind.DELETE_VARIANT:
                assert request.variant_id is not None
                await self.products.set_variant(request.variant_id, is_hidden=True)
            case ChangeKind.CHANGE_WEIGHT:
                assert request.variant_id is not None
                await self.products.set_variant(request.variant_id, other_weight=request.weight)
            case ChangeKind.DELETE_PRODUCT:
                await self.products.touch(product.id, is_hidden=True)
            case _:
                pass
        await self._move(change, plan.work, first(plan.work), None)

    async def go_on(self, change: Change, product: Product, event: FileTaskEndedV1) -> None:
        """Take the step that follows the end of the task that the change waits for."""
        work, at, error = change.work, change.position, change.error
        assert work is not None
        assert at is not None
        if not event.succeeded:
            failure = failure_of(work.steps(at), event.results)
            log.warning(
                "a change of a product's files failed", extra={"change_id": str(change.id), "step": failure.step}
            )
            if error is None:
                error = error_of(failure)
            elif at.stage is Stage.RESTORING:
                error = rollback_failed(error, failure, aside_folder(change.id) if work.sets_aside else None)
                work = work.without_withdrawals()
        if at.stage is Stage.COPYING and event.succeeded:
            work = work.with_copied(at.part, event.results)
        elif at.stage is Stage.REMOVING:
            work = work.with_removed(at.part, event.results)
        await self._move(change, work, after(work, at, succeeded=event.succeeded), error)

    async def _move(self, change: Change, work: Work, move: Move, error: ChangeError | None) -> None:
        if move.switch is not None:
            await self._switch(change)
        if move.next is not None:
            task_id = new_id()
            await self.changes.move(change.id, work, move.next, task_id, error, REMIND_AFTER_SECONDS)
            self._transaction.publish(_task(change, work, move.next, task_id))
            return
        if move.ending == "completed":
            result = await self._complete(change)
            error = None
            if work.sets_aside:
                self._remove_files(change, *work.withdrawals)
        else:
            result = None
            await self._take_back(change)
        await self._end(change, error, result)
        await self._begin_next(change.product_id)

    async def _switch(self, change: Change) -> None:
        """Records and files of the change change places; doing it again is the way back."""
        variant_id = change.request.variant_id
        if change.kind is ChangeKind.CHANGE_WEIGHT and variant_id is not None:
            await self.products.swap_weight(variant_id)
            self._transaction.publish((await self.products.touch(change.product_id)).changed())
        self._tell(await self.products.swap_files(change.id))

    async def _complete(self, change: Change) -> dict[str, Any] | None:
        """The last step forwards; what the caller learns."""
        images = await self.products.images_in_change(change.id)
        variant_id = change.request.variant_id
        match change.kind:
            case ChangeKind.UPLOAD_IMAGE | ChangeKind.REPLACE_IMAGE:
                return image_values((await self._settle(images))[0])
            case ChangeKind.DELETE_IMAGE:
                await self._remove(images)
            case ChangeKind.DELETE_VARIANT:
                assert variant_id is not None
                await self._remove(images)
                await self.products.remove_variant(variant_id)
                self._transaction.publish((await self.products.touch(change.product_id)).changed())
            case ChangeKind.CHANGE_WEIGHT:
                assert variant_id is not None
                await self._settle(images)
                await self.products.set_variant(variant_id, is_active=change.request.is_active)
                product = await self.products.touch(change.product_id)
                self._transaction.publish(product.changed())
                variant = product.variant(variant_id)
                assert variant is not None
                return variant_values(variant)
            case ChangeKind.DELETE_PRODUCT:
                await self._remove(images)
                product = await self.products.touch(change.product_id)
                self._transaction.publish(product.changed(is_deleted=True))
                await self.products.remove(change.product_id)
        return None

    async def _take_back(self, change: Change) -> None:
        """The last step backwards: the records are as they were."""
        images = await self.products.images_in_change(change.id)
        variant_id = change.request.variant_id
        if change.kind is ChangeKind.UPLOAD_IMAGE:
            await self._remove(images)
            return
        await self._settle(images)
        if change.kind in {ChangeKind.DELETE_VARIANT, ChangeKind.CHANGE_WEIGHT}:
            assert variant_id is not None
            await self.products.set_variant(variant_id, is_hidden=False)
        if change.kind is ChangeKind.DELETE_PRODUCT:
            await self.products.touch(change.product_id, is_hidden=False)

    async def _end(self, change: Change, error: ChangeError | None, result: dict[str, Any] | None) -> None:
        await self.changes.end(change.id, error, result)
        upload = change.request.upload
        if upload is not None:
            # What can't be removed now, the sweep of the staging area does.
            target = FileAt(place=FilePlace.STAGING, key=upload.staging_key)
            self._remove_files(change, (FileStep(kind="remove", target=target),))

    def _remove_files(self, change: Change, *parts: Part) -> None:
        """Have files removed that are nobody's; nobody waits for the end of these tasks."""
        scope = str(change.product_id)
        self._transaction.publish(
            *(
                RunFileTaskV1(task_id=new_id(), scope=scope, steps=part, is_atomic=False, requested_at=self._now)
                for part in parts
            )
        )

    async def _begin_next(self, product_id: UUID) -> None:
        """Give the next its turn; one that makes no sense any more fails, and the one behind it is next."""
        while (change := await self.changes.next_waiting(product_id)) is not None:
            product = await self.products.get(product_id)
            try:
                if product is None:
                    raise no_such_product()
                await self.begin(change, product)
            except Problem as problem:
                await self._end(change, ChangeError.of(problem), None)
            else:
                return

    async def _settle(self, images: Sequence[ProductImage]) -> list[ProductImage]:
        settled = await self.products.settle_images(images)
        self._tell(settled)
        return settled

    async def _remove(self, images: Sequence[ProductImage]) -> None:
        await self.products.remove_images(images)
        self._transaction.publish(*(image.changed(self._now, is_removed=True) for image in images))

    def _tell(self, images: Sequence[ProductImage]) -> None:
        self._transaction.publish(*(image.changed(self._now) for image in images))


def no_such_product() -> Problem:
    return Problem(404, "not_found", "There is no product with this id.")


def _task(change: Change, work: Work, at: Position, task_id: UUID) -> RunFileTaskV1:
    return RunFileTaskV1(
        task_id=task_id,
        scope=str(change.product_id),
        steps=work.steps(at),
        is_atomic=work.is_atomic(at),
        requested_at=datetime.now(UTC),
    )
