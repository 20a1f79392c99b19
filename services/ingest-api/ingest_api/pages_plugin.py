"""What the application gets from the pages for people: routes and what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin
from litestar.types import ControllerRouterHandler

from ingest_api.catalogue import Records
from ingest_api.controllers.pages.assets import AssetController
from ingest_api.controllers.pages.catalog import CatalogPages
from ingest_api.controllers.pages.consistency import ConsistencyPages
from ingest_api.controllers.pages.entrance import EntranceController
from ingest_api.controllers.pages.events import EventPages
from ingest_api.controllers.pages.media import MediaPages
from ingest_api.controllers.pages.operations import OperationsPages
from ingest_api.controllers.pages.settings import SettingsPages
from ingest_api.controllers.pages.sync import SyncPages
from ingest_api.pages.page import Pages
from ingest_api.pages.policy import page_headers

PAGES: tuple[ControllerRouterHandler, ...] = (
    AssetController,
    CatalogPages,
    ConsistencyPages,
    EntranceController,
    EventPages,
    MediaPages,
    OperationsPages,
    SettingsPages,
    SyncPages,
)


class PagesPlugin(InitPlugin):
    """The pages for people; needs SignInPlugin.

    `image_origins` tells the origins beside our own from which pictures come, e.g. that of the bucket's public address;
    it is asked for each page, since the bucket may move.
    """

    def __init__(self, records: Records, image_origins: Callable[[], Iterable[str]]) -> None:
        self._pages = Pages(records, lambda: page_headers(*image_origins()))

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        pages = self._pages
        app_config.route_handlers.extend(PAGES)
        app_config.dependencies["pages"] = Provide(lambda: pages, sync_to_thread=False)
        app_config.signature_types.append(Pages)
        return app_config
