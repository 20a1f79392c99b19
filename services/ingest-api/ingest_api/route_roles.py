"""Every route with the role it asks for, in one place; a test compares it with what the application registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute

from ingest_api.accounts import Role
from ingest_api.authentication import require

SIGN_IN_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("POST", "/api/auth/login"): None,
        ("POST", "/api/auth/logout"): None,
        ("GET", "/api/auth/me"): Role.GUEST,
        ("POST", "/api/auth/ticket"): Role.PHOTOGRAPHER,
        ("POST", "/api/admin/users"): Role.SUPERADMIN,
        ("GET", "/api/admin/users"): Role.SUPERADMIN,
        ("GET", "/api/admin/users/{user_id}"): Role.SUPERADMIN,
        ("PATCH", "/api/admin/users/{user_id}"): Role.SUPERADMIN,
        ("DELETE", "/api/admin/users/{user_id}"): Role.SUPERADMIN,
        ("POST", "/api/admin/api-keys"): Role.ADMIN,
        ("GET", "/api/admin/api-keys"): Role.ADMIN,
        ("DELETE", "/api/admin/api-keys/{key_id}"): Role.ADMIN,
        ("POST", "/api/auth/logout-everywhere"): Role.GUEST,
        ("GET", "/docs"): None,
        ("GET", "/docs/openapi.json"): None,
        ("GET", "/docs/{path}"): None,
    }
)
"""Method and path to the lowest role that is admitted; None admits everyone."""

PAGE_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("GET", "/"): None,
        ("GET", "/login"): None,
        ("POST", "/login"): None,
        ("POST", "/logout"): None,
        ("POST", "/logout/everywhere"): Role.GUEST,
        ("GET", "/account"): Role.GUEST,
        ("POST", "/language"): None,
        ("GET", "/static/{version}/{asset}"): None,
        ("GET", "/admin/media"): Role.ADMIN,
        ("GET", "/admin/media/{media_id}"): Role.ADMIN,
        ("GET", "/admin/ops"): Role.SUPERADMIN,
        ("GET", "/admin/ops/dead-letters"): Role.SUPERADMIN,
        ("GET", "/admin/ops/dead-letters/{letter_id}"): Role.SUPERADMIN,
        ("GET", "/admin/ops/jobs"): Role.SUPERADMIN,
        ("GET", "/admin/ops/schedules"): Role.SUPERADMIN,
        ("GET", "/admin/ops/schedules/{name}"): Role.SUPERADMIN,
        ("GET", "/admin/ops/due"): Role.SUPERADMIN,
        ("GET", "/admin/ops/audit"): Role.SUPERADMIN,
        ("GET", "/admin/media/settings"): Role.ADMIN,
        ("GET", "/admin/media/settings/entity-types/{entity_type}"): Role.ADMIN,
        ("GET", "/admin/media/sync"): Role.SUPERADMIN,
        ("GET", "/admin/media/sync/{job_id}"): Role.SUPERADMIN,
        ("GET", "/admin/catalog"): Role.ADMIN,
        ("GET", "/admin/catalog/{product_id}"): Role.ADMIN,
        ("GET", "/admin/events"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/photos/{photo_id}"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/people"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/people/{person_id}"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/sharing"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/requests"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/activity"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/settings"): Role.PHOTOGRAPHER,
        ("GET", "/admin/events/{event_uuid}/removal"): Role.PHOTOGRAPHER,
        ("GET", "/admin/consistency"): Role.ADMIN,
        ("GET", "/admin/consistency/objects"): Role.ADMIN,
        ("GET", "/admin/consistency/plans/{plan_id}"): Role.ADMIN,
        ("GET", "/admin/consistency/products/{product_id}"): Role.ADMIN,
        ("GET", "/admin/consistency/runs"): Role.ADMIN,
    }
)

MEDIA_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("POST", "/api/admin/media"): Role.ADMIN,
        ("POST", "/api/admin/media/bulk"): Role.ADMIN,
        ("POST", "/api/admin/media/watermark"): Role.ADMIN,
        ("POST", "/api/admin/media/uploads"): Role.ADMIN,
        ("GET", "/api/admin/media"): Role.ADMIN,
        ("GET", "/api/admin/media/count"): Role.ADMIN,
        ("GET", "/api/admin/media/{media_id}"): Role.ADMIN,
        ("PATCH", "/api/admin/media/{media_id}"): Role.ADMIN,
        ("PUT", "/api/admin/media/{media_id}/file"): Role.ADMIN,
        ("DELETE", "/api/admin/media/{media_id}"): Role.ADMIN,
        ("POST", "/api/admin/media/{media_id}/restore"): Role.ADMIN,
        ("GET", "/api/admin/media/{media_id}/timeline"): Role.ADMIN,
        ("POST", "/api/admin/media/delete"): Role.ADMIN,
        ("POST", "/api/admin/media/restore"): Role.ADMIN,
        ("GET", "/api/admin/media/deletions"): Role.ADMIN,
        ("GET", "/api/admin/media/deletions/{deletion_id}"): Role.ADMIN,
        ("GET", "/api/admin/media/jobs"): Role.ADMIN,
        ("GET", "/api/admin/media/jobs/{job_id}"): Role.ADMIN,
        ("POST", "/api/admin/media/jobs/{job_id}/retry"): Role.ADMIN,
        ("POST", "/api/admin/media/jobs/{job_id}/cancel"): Role.ADMIN,
        # what concerns S3 is changed by superadmins alone
        ("GET", "/api/admin/media/settings"): Role.ADMIN,
        ("PUT", "/api/admin/media/settings"): Role.ADMIN,
        ("PATCH", "/api/admin/media/settings"): Role.ADMIN,
        ("GET", "/api/admin/media/settings/audit"): Role.ADMIN,
        ("POST", "/api/admin/media/settings/test-s3"): Role.ADMIN,
        ("GET", "/api/admin/media/settings/entity-types/{entity_type}"): Role.ADMIN,
        ("PUT", "/api/admin/media/settings/entity-types/{entity_type}"): Role.ADMIN,
        ("GET", "/api/admin/media/sync"): Role.SUPERADMIN,
        ("POST", "/api/admin/media/sync"): Role.SUPERADMIN,
        ("GET", "/api/admin/media/sync/{job_id}"): Role.SUPERADMIN,
        ("GET", "/api/admin/media/sync/{job_id}/children"): Role.SUPERADMIN,
        ("POST", "/api/admin/media/sync/{job_id}/cancel"): Role.SUPERADMIN,
        ("POST", "/api/admin/media/sync/{job_id}/retry"): Role.SUPERADMIN,
        ("WEBSOCKET", "/api/ws"): Role.PHOTOGRAPHER,
        # the store's, with a token of its own that the handler asks for
        ("POST", "/webhooks/minio"): None,
        # private and deleted media ask for more, by what they are
        ("GET", "/media/{media_id}/{variant}"): None,
        ("HEAD", "/media/{media_id}/{variant}"): None,
    }
)

RECONCILE_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("GET", "/admin/products/{product_id}/images/sync/check"): Role.ADMIN,
        ("GET", "/admin/products/sync/check-all"): Role.ADMIN,
        ("POST", "/admin/products/{product_id}/images/sync"): Role.ADMIN,
        ("POST", "/admin/products/sync/sync-all"): Role.ADMIN,
        ("GET", "/admin/reconcile/runs"): Role.ADMIN,
        ("POST", "/admin/reconcile/runs"): Role.ADMIN,
        ("GET", "/admin/reconcile/runs/{run_id}"): Role.ADMIN,
        ("GET", "/admin/reconcile/reports/{report_id}"): Role.ADMIN,
        ("GET", "/admin/reconcile/plans/{plan_id}"): Role.ADMIN,
        ("POST", "/admin/reconcile/plans/{plan_id}/approve"): Role.ADMIN,
        ("POST", "/admin/reconcile/plans/{plan_id}/discard"): Role.ADMIN,
        ("POST", "/admin/reconcile/plans/{plan_id}/undo"): Role.ADMIN,
    }
)

SCHEDULE_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("GET", "/api/admin/schedules"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/due"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/runs"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/runs/{run_id}"): Role.SUPERADMIN,
        ("POST", "/api/admin/schedules/runs/{run_id}/approve"): Role.SUPERADMIN,
        ("POST", "/api/admin/schedules/runs/{run_id}/refuse"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/{name}"): Role.SUPERADMIN,
        ("PATCH", "/api/admin/schedules/{name}"): Role.SUPERADMIN,
        ("POST", "/api/admin/schedules/{name}/run"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/{name}/runs"): Role.SUPERADMIN,
        ("GET", "/api/admin/schedules/{name}/audit"): Role.SUPERADMIN,
    }
)

OPERATION_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("GET", "/api/admin/ops/services"): Role.SUPERADMIN,
        ("GET", "/api/admin/ops/audit"): Role.SUPERADMIN,
        ("GET", "/api/admin/ops/links"): Role.SUPERADMIN,
        ("GET", "/api/admin/ops/dead-letters"): Role.SUPERADMIN,
        ("GET", "/api/admin/ops/dead-letters/{letter_id}"): Role.SUPERADMIN,
        ("POST", "/api/admin/ops/dead-letters/{letter_id}/replay"): Role.SUPERADMIN,
        ("POST", "/api/admin/ops/dead-letters/{letter_id}/drop"): Role.SUPERADMIN,
    }
)

PRODUCT_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        ("GET", "/admin/products"): Role.ADMIN,
        ("POST", "/admin/products"): Role.ADMIN,
        ("GET", "/admin/products/jobs/{job_id}"): Role.ADMIN,
        ("GET", "/admin/products/{product_id}"): Role.ADMIN,
        ("PATCH", "/admin/products/{product_id}"): Role.ADMIN,
        ("DELETE", "/admin/products/{product_id}"): Role.ADMIN,
        ("POST", "/admin/products/{product_id}/variants"): Role.ADMIN,
        ("PATCH", "/admin/products/{product_id}/variants/{variant_id}"): Role.ADMIN,
        ("DELETE", "/admin/products/{product_id}/variants/{variant_id}"): Role.ADMIN,
        ("POST", "/admin/products/{product_id}/images"): Role.ADMIN,
        ("PUT", "/admin/products/{product_id}/images/{image_id}"): Role.ADMIN,
        ("DELETE", "/admin/products/{product_id}/images/{image_id}"): Role.ADMIN,
        ("GET", "/product-images/{image_id}"): None,
    }
)

EVENT_PHOTO_ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        # photographers reach their own events, admins all
        ("GET", "/api/v1/events"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}"): Role.PHOTOGRAPHER,
        ("PATCH", "/api/v1/events/{event_uuid}"): Role.PHOTOGRAPHER,
        ("DELETE", "/api/v1/events/{event_uuid}"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/removal"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/consents"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/photos"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events/{event_uuid}/photos"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/photos/by-sha256/{sha256}"): Role.PHOTOGRAPHER,
        ("DELETE", "/api/v1/events/{event_uuid}/photos/{photo_id}"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/photos/{photo_id}/faces"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/photos/{photo_id}/removal"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/people"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/people/{person_id}"): Role.PHOTOGRAPHER,
        ("PATCH", "/api/v1/events/{event_uuid}/people/{person_id}"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events/{event_uuid}/people/merge"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events/{event_uuid}/people/{person_id}/split"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/people/changes"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/people/changes/{change_id}"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events/{event_uuid}/people/changes/{change_id}/undo"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/events/{event_uuid}/galleries"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/galleries"): Role.PHOTOGRAPHER,
        ("DELETE", "/api/v1/events/{event_uuid}/galleries/{gallery_id}"): Role.PHOTOGRAPHER,
        # guests have the token of the address, and what it allows
        ("GET", "/gallery/{token}"): None,
        ("POST", "/gallery/{token}/unlock"): None,
        ("GET", "/gallery/{token}/photos"): None,
        ("GET", "/gallery/{token}/photos/{photo_id}/original"): None,
        ("POST", "/gallery/{token}/search"): None,
        ("GET", "/gallery/{token}/searches/{search_id}"): None,
        ("POST", "/gallery/{token}/download"): None,
        ("POST", "/gallery/{token}/archive"): None,
        ("POST", "/gallery/{token}/erasure-requests"): None,
        ("GET", "/api/v1/events/{event_uuid}/searches"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/faces/search"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/faces/searches/{search_id}"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/faces/sync-s3"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/faces/tasks/{task_id}"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/faces/erasures"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/faces/erasures/{erasure_id}"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/faces/erasures/{erasure_id}/confirm"): Role.PHOTOGRAPHER,
        ("POST", "/api/v1/faces/erasures/{erasure_id}/refuse"): Role.PHOTOGRAPHER,
        ("GET", "/api/v1/events/{event_uuid}/erasure-requests"): Role.PHOTOGRAPHER,
        # the guest who asked, with the secret of the request
        ("GET", "/api/v1/faces/erasure-requests/{erasure_id}"): None,
        # whoever was given a receipt
        ("GET", "/api/v1/faces/receipt-key"): None,
    }
)

ROUTES: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        **SIGN_IN_ROUTES,
        **PAGE_ROUTES,
        **MEDIA_ROUTES,
        **RECONCILE_ROUTES,
        **SCHEDULE_ROUTES,
        **OPERATION_ROUTES,
        **PRODUCT_ROUTES,
        **EVENT_PHOTO_ROUTES,
    }
)


def registered_roles(app: Litestar) -> dict[tuple[str, str], Role | None]:
    """What the application really asks for: the highest role among a route's guards.

    WebSocket routes have the method WEBSOCKET, mounted ASGI applications ASGI.
    """
    found: dict[tuple[str, str], Role | None] = {}
    for route in app.routes:
        for method, handler in _handlers(route):
            found[method, route.path_format] = _role(handler)
    return found


def _handlers(route: HTTPRoute | WebSocketRoute | ASGIRoute) -> Iterable[tuple[str, BaseRouteHandler]]:
    if isinstance(route, HTTPRoute):
        return [(str(method), entry[0]) for method, entry in route.route_handler_map.items() if method != "OPTIONS"]
    return [("WEBSOCKET" if isinstance(route, WebSocketRoute) else "ASGI", route.route_handler)]


def _role(handler: BaseRouteHandler) -> Role | None:
    roles = [guard.role for guard in handler.resolve_guards() if isinstance(guard, require)]
    return max(roles, key=lambda role: sum(role.includes(other) for other in Role), default=None)
