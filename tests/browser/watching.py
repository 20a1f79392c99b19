"""What goes wrong in a browser while nobody looks: errors on the console, broken policies, failed requests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

_ASSETS = frozenset({"stylesheet", "script", "image", "font", "media", "manifest"})
_REPORT_BROKEN_POLICY = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`content security policy: ${event.violatedDirective} forbids ${event.blockedURI || event.sample}`));
"""


@dataclass
class Watch:
    """Collects troubles of every page of the contexts it watches; the end of a test asks for the verdict."""

    troubles: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    async def over(self, context: BrowserContext) -> None:
        await context.add_init_script(_REPORT_BROKEN_POLICY)
        context.on("console", self._console)
        context.on("weberror", self._page_error)
        context.on("dialog", self._dialog)
        context.on("requestfailed", self._request_failed)
        context.on("response", self._response)

    def expect(self, pattern: str) -> None:
        """Troubles in which this is found are meant to happen in this test, at least one of them."""
        self.expected.append(pattern)

    def allow(self, pattern: str) -> None:
        """Troubles in which this is found depend on the moment: they may happen in this test."""
        self.allowed.append(pattern)

    def verdict(self) -> list[str]:
        """What went wrong unexpectedly, and what was expected to and did not.

        To be asked once the contexts are closed: their last words have been heard then.
        """
        known = [*self.expected, *self.allowed]
        unexpected = [trouble for trouble in self.troubles if not any(re.search(pattern, trouble) for pattern in known)]
        absent = [
            f"expected, and did not happen: {pattern}"
            for pattern in self.expected
            if not any(re.search(pattern, trouble) for trouble in self.troubles)
        ]
        return unexpected + absent

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _page_error(self, error: WebError) -> None:
        self.troubles.append(f"uncaught: {error.error}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.type} {dialog.message}")
        await dialog.dismiss()

    def _request_failed(self, request: Request) -> None:
        # A page that is left gives up what it was still loading.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"request failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        is_missing_asset = response.status == 404 and response.request.resource_type in _ASSETS
        if response.status >= 500 or is_missing_asset:
            self.troubles.append(f"answer {response.status}: {response.request.method} {response.url}")
