"""Settings: storage, deletion, S3, uploads, and what is made of pictures of each entity type."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.settings import SettingsDesk
from ingest_api.pages.page import PageController, Pages
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.settings_document import entity_type_record, media_record
from ingest_api.upload_fields import entity_type_of
from shared.events import StorageStrategy
from shared.events.settings import MAX_VARIANTS, VariantFormat, WatermarkPosition

CHANGES_SHOWN = 20


class SettingsPages(PageController):
    path = "/admin/media/settings"
    guards = (require(Role.ADMIN),)

    @get()
    async def settings(
        self, request: SignedInRequest, pages: NamedDependency[Pages], settings_desk: NamedDependency[SettingsDesk]
    ) -> Response[str]:
        """What concerns S3 can be read by admins, and changed by superadmins."""
        media = await settings_desk.store.media()
        return pages.answer(
            request,
            "settings/settings.html",
            settings=media_record(media.settings),
            version=media.version,
            s3_status=await settings_desk.status.get(enabled=media.settings.s3_enabled),
            may_change_s3=request.user.may(Role.SUPERADMIN),
            strategies=list(StorageStrategy),
            entity_types=await settings_desk.store.entity_types(),
            changes=await settings_desk.store.changes(None, CHANGES_SHOWN),
        )

    @get("/entity-types/{entity_type:str}")
    async def entity_type(
        self,
        request: SignedInRequest,
        entity_type: FromPath[str],
        pages: NamedDependency[Pages],
        settings_desk: NamedDependency[SettingsDesk],
    ) -> Response[str]:
        """The defaults for a type that has no settings of its own."""
        try:
            name = entity_type_of(entity_type)
        except ValueError as error:
            raise InvalidFields(FieldError("entityType", str(error))) from None
        found = await settings_desk.store.entity_type(name)
        return pages.answer(
            request,
            "settings/entity_type.html",
            entity_type=name,
            settings=entity_type_record(found.settings),
            version=found.version,
            strategies=list(StorageStrategy),
            formats=list(VariantFormat),
            positions=list(WatermarkPosition),
            most_variants=MAX_VARIANTS,
        )
