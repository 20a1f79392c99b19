"""What the application gets from the pages for people: routes and what they need."""

from __future__ import annotations

from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin

from ingest_api.catalogue import Records
from ingest_api.controllers.pages import Pages, PagesController
from ingest_api.rendering import page_headers


class PagesPlugin(InitPlugin):
    """The pages for people; needs SignInPlugin.

    `image_origins` are origins beside our own from which pictures come, e.g. that of the bucket's public address.
    """

    def __init__(self, records: Records, *image_origins: str) -> None:
        self._pages = Pages(records, page_headers(*image_origins))

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        pages = self._pages
        app_config.route_handlers.append(PagesController)
        app_config.dependencies["pages"] = Provide(lambda: pages, sync_to_thread=False)
        app_config.signature_types.append(Pages)
        return app_config
