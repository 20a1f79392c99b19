"""The catalog: products with their variants and the images in their slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.products import ProductDesk
from ingest_api.cursors import cursor_behind, id_of
from ingest_api.pages.catalog_view import ProductRow, image_address, variant_views
from ingest_api.pages.page import PageController, Pages
from ingest_api.products import ProductImage
from shared.storage.stores import Stores

HOME = "/admin/catalog"
PRODUCTS_PER_PAGE = 30
NAME_PART_CHARACTERS = 200


class CatalogPages(PageController):
    path = HOME
    guards = (require(Role.ADMIN),)

    @get()
    async def products(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        products: NamedDependency[ProductDesk],
        cursor: FromQuery[str | None] = None,
        q: Annotated[str, QueryParameter(max_length=NAME_PART_CHARACTERS)] = "",
    ) -> Response[str]:
        """Newest first; `q` is in their names."""
        wanted = q.strip()
        found = await products.catalogue.newest(id_of(cursor), PRODUCTS_PER_PAGE + 1, wanted or None)
        shown = found[:PRODUCTS_PER_PAGE]
        behind = cursor_behind([product for product, _ in found], PRODUCTS_PER_PAGE)
        return pages.answer(
            request,
            "catalog/products.html",
            rows=[ProductRow.of(product, images, _addresses(images, products)) for product, images in shown],
            q=wanted,
            is_first_page=cursor is None,
            older=_list_address(wanted, behind) if behind else None,
            newest=_list_address(wanted, None),
        )

    @get("/{product_id:uuid}")
    async def product(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        products: NamedDependency[ProductDesk],
        stores: NamedDependency[Stores],
    ) -> Response[str]:
        product, images = await products.catalogue.read(product_id)
        views = variant_views(product, images, _addresses(images, products))
        return pages.answer(
            request,
            "catalog/product.html",
            product=product,
            variants=views,
            images=sum(view.images for view in views),
            has_bucket=stores.bucket is not None,
        )


def _addresses(images: Sequence[ProductImage], products: ProductDesk) -> dict[UUID, str]:
    """Where each image is read."""
    return {image.id: image_address(image, products.records) for image in images}


def _list_address(name_part: str, cursor: str | None) -> str:
    query = {name: value for name, value in (("q", name_part), ("cursor", cursor)) if value}
    return f"{HOME}?{urlencode(query)}" if query else HOME
