"""What the application gets from signing in: routes, middleware, dependencies, error handling."""

from __future__ import annotations

from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin
from litestar.types import ControllerRouterHandler

from ingest_api.authentication import AuthenticationMiddleware
from ingest_api.controllers.accounts import ApiKeyController, SignInController, UserController
from ingest_api.openapi import openapi_config
from ingest_api.problem_details import EXCEPTION_HANDLERS
from ingest_api.sign_in import SignIn


def sign_in_routes() -> list[ControllerRouterHandler]:
    return [SignInController, UserController, ApiKeyController]


class SignInPlugin(InitPlugin):
    """Gives every request its principal, and the application the routes with which people come to be one.

    Its middleware is the outermost: the handlers, guards and middleware of everyone else find `request.user` set.
    """

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        sign_in = self._sign_in
        app_config.route_handlers.extend(sign_in_routes())
        app_config.middleware.insert(0, AuthenticationMiddleware(sign_in))
        app_config.dependencies["sign_in"] = Provide(lambda: sign_in, sync_to_thread=False)
        app_config.signature_types.append(SignIn)
        app_config.exception_handlers = {**EXCEPTION_HANDLERS, **(app_config.exception_handlers or {})}
        app_config.openapi_config = openapi_config(sign_in.cookie.name)
        return app_config
