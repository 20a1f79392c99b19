"""One picture from its staged upload, or from its stored original, to stored variants."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from image_processor import errors
from image_processor.originals import Originals
from image_processor.render_pool import RenderPool
from image_processor.rendering import RenderJob, Rendition
from image_processor.storing import ORIGINAL, FileToStore, Placement, Storing
from image_processor.variants import VariantSpec
from image_processor.watermark_sources import WatermarkSources
from shared.events import (
    ImageProcessedV1,
    ImageProgressV1,
    ProcessImageV1,
    RerenderImageV1,
    StoredFile,
    SyncMediaV1,
    WatermarkSettings,
)
from shared.messaging.publisher import Publisher
from shared.picture_types import PictureType
from shared.storage.keys import MediaKey
from shared.storage.local_disk import LocalDiskStore
from shared.storage.staging import StagedFile, Staging
from shared.telemetry.tracing import record_span, span

SCRATCH_FOLDER = "scratch"

Command = ProcessImageV1 | RerenderImageV1
"""What has a picture rendered: an upload, or the wish to have a stored one anew."""


class Imaging:
    """Renders in the process pool and stores by strategy; tells how far it is on the way.

    `variants`, `watermark` and `settings_version` tell those of an entity type and are asked anew for each picture,
    since they change.
    """

    def __init__(
        self,
        pool: RenderPool,
        staging: Staging,
        disk: LocalDiskStore,
        storing: Storing,
        publisher: Publisher,
        watermarks: WatermarkSources,
        originals: Originals,
        *,
        variants: Callable[[str], tuple[VariantSpec, ...]],
        watermark: Callable[[str], WatermarkSettings | None],
        settings_version: Callable[[str], int],
        pixel_limit_px: int,
        webp_effort: int,
        keep_original: bool,
    ) -> None:
        self._pool = pool
        self._staging = staging
        self._disk = disk
        self._storing = storing
        self._publisher = publisher
        self._watermarks = watermarks
        self._originals = originals
        self._variants = variants
        self._watermark = watermark
        self._settings_version = settings_version
        self._pixel_limit_px = pixel_limit_px
        self._webp_effort = webp_effort
        self._keep_original = keep_original

    async def render(self, command: ProcessImageV1, attempt: int) -> ImageProcessedV1:
        """Store every variant, and the original if it is kept, under deterministic keys; doing it twice is harmless.

        Raises PermanentError for a picture that will never do, Postponed while a wanted bucket is away.
        """
        placement = Placement.of(command.storage_strategy)
        await self._storing.require(placement)
        staged = StagedFile(command.staging_key, command.size_bytes, command.sha256)
        async with self._staging.open(staged) as source:
            return await self._work(command, source, attempt, placement, keep_original=self._keep_original)

    async def rerender(self, command: RerenderImageV1, attempt: int) -> ImageProcessedV1:
        """Store every variant of a further revision, with its own copy of the original, which stays what it was.

        Waits behind uploads. Raises like `render`, and PermanentError where the original is gone or damaged.
        """
        if self._settings_version(command.entity_type) < command.settings_version:
            raise errors.settings_behind(command.entity_type)
        placement = Placement.of(command.storage_strategy)
        await self._storing.require(placement)
        async with AsyncExitStack() as stack:
            source = await self._originals.open(command.media_id, command.original, stack)
            return await self._work(command, source, attempt, placement, keep_original=True)

    async def _work(
        self, command: Command, source: Path, attempt: int, placement: Placement, *, keep_original: bool
    ) -> ImageProcessedV1:
        async with self._scratch(command) as scratch:
            self._tell(command, 10, attempt)
            rendition = await self._render(command, source, scratch)
            if isinstance(command, RerenderImageV1) and rendition.source.sha256 != command.original.sha256:
                raise errors.original_damaged(command.media_id, command.original.key)
            self._tell(command, 50, attempt)
            files = self._files(command, rendition, source, scratch, keep_original=keep_original)
            await self._storing.store(files, placement)
            self._tell(command, 80, attempt)
        return _processed(command, rendition, [file.stored for file in files], placement)

    async def _render(self, command: Command, source: Path, scratch: Path) -> Rendition:
        variants, wanted = self._variants(command.entity_type), self._watermark(command.entity_type)
        is_upload = isinstance(command, ProcessImageV1)
        size_bytes = (command if isinstance(command, ProcessImageV1) else command.original).size_bytes
        async with self._watermarks.open(wanted) as watermark:
            job = RenderJob(
                source_path=source,
                output_dir=scratch,
                variants=variants,
                pixel_limit_px=self._pixel_limit_px,
                webp_effort=self._webp_effort,
                watermark=watermark,
            )
            with span("render", attributes={"mediabus.size_bytes": size_bytes}) as current:
                rendition = await self._pool.render(job, is_urgent=is_upload)
                current.set_attribute("mediabus.cpu_seconds", rendition.cpu_seconds)
                for step in rendition.spans:
                    record_span(step.name, step.start_ns, step.end_ns)
        return rendition

    def _files(
        self, command: Command, rendition: Rendition, source: Path, scratch: Path, *, keep_original: bool
    ) -> list[FileToStore]:
        files = [
            FileToStore(
                scratch / variant.file_name,
                StoredFile(
                    name=variant.name,
                    key=_key(command, Path(variant.file_name).stem, Path(variant.file_name).suffix[1:]),
                    mime_type=variant.mime_type,
                    size_bytes=variant.size_bytes,
                    sha256=variant.sha256,
                    width_px=variant.width_px,
                    height_px=variant.height_px,
                ),
            )
            for variant in rendition.variants
        ]
        if keep_original:
            found = rendition.source
            original = StoredFile(
                name=ORIGINAL,
                key=_key(command, ORIGINAL, PictureType(found.mime_type).extension),
                mime_type=found.mime_type,
                size_bytes=found.size_bytes,
                sha256=found.sha256,
                width_px=found.width_px,
                height_px=found.height_px,
            )
            files.insert(0, FileToStore(source, original))
        return files

    @asynccontextmanager
    async def _scratch(self, command: Command) -> AsyncIterator[Path]:
        """A folder of this attempt's own, on the filesystem of the media so that files move instead of being copied."""
        parent = self._disk.root / SCRATCH_FOLDER

        def make() -> Path:
            parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{command.media_id}-", dir=parent))

        folder = await self._disk.run(parent, make, undo=Path.rmdir)
        try:
            yield folder
        finally:
            await self._disk.run(folder, lambda: shutil.rmtree(folder, ignore_errors=True), in_any_case=True)

    def _tell(self, command: Command, progress: int, attempt: int) -> None:
        self._publisher.tell(
            ImageProgressV1.model_validate(
                {"job_id": command.job_id, "media_id": command.media_id, "progress": progress, "attempt": attempt}
            )
        )


def _key(command: Command, name: str, extension: str) -> str:
    return str(MediaKey(command.media_id, command.revision, name, extension))


def _processed(
    command: Command, rendition: Rendition, files: Sequence[StoredFile], placement: Placement
) -> ImageProcessedV1:
    return ImageProcessedV1(
        job_id=command.job_id,
        media_id=command.media_id,
        revision=command.revision,
        width_px=rendition.source.width_px,
        height_px=rendition.source.height_px,
        mime_type=rendition.source.mime_type,
        sha256=rendition.source.sha256,
        original=next((file for file in files if file.name == ORIGINAL), None),
        variants=tuple(file for file in files if file.name != ORIGINAL),
        placeholder=rendition.placeholder,
        storage_status=placement.status,
        on_disk=placement.on_disk,
        in_bucket=placement.in_bucket,
        render_seconds=rendition.render_seconds,
        processed_at=datetime.now(UTC),
    )


def copy_to_bucket(command: Command, image: ImageProcessedV1) -> SyncMediaV1 | None:
    """The command that brings a picture stored locally first into the bucket; None where nothing is left to do."""
    if not Placement.of(command.storage_strategy).bucket_later:
        return None
    files = (image.original, *image.variants) if image.original else image.variants
    return SyncMediaV1(media_id=image.media_id, revision=image.revision, files=files, requested_at=image.processed_at)
