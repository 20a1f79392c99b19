"""Where the API is, who asks, and its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from deploy.local.stack_folder import StackFolder

URL_VARIABLE: Final = "MEDIABUS_URL"
KEY_VARIABLE: Final = "MEDIABUS_API_KEY"
TIMEOUT: Final = httpx.Timeout(30, connect=5)
"""Seconds; the API itself waits up to 10 for the services behind it."""

_UNAUTHORIZED: Final = 401


class NotReached(Exception):
    """There is no API at the address, or it does not know who asks; the text says what to do."""


class Refused(Exception):
    """The API refused what was asked, with these problem details."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["title"])
        self.title = str(problem["title"])
        self.detail = str(problem.get("detail", ""))
        self.field_errors = [f"{error['field']}: {error['message']}" for error in problem.get("errors", ())]


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the body as it came, `body` what it says."""

    text: str
    body: Any


class Session:
    """Asks as one who is known to the API."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def ask(self, method: str, path: str, params: Mapping[str, str | int] | None = None, body: object = None) -> Answer:
        """Raises Refused or NotReached. Nothing is asked a second time by itself."""
        try:
            response = self._http.request(method, path, params=params, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise NotReached(f"{self._address} is not reached ({error}): is it running?") from error
        except httpx.HTTPError as error:
            raise NotReached(
                f"{self._address} did not answer ({error!r}): what was asked may be done or not"
            ) from error
        told = self._body(response)
        if response.is_success:
            return Answer(response.text, told)
        if response.status_code == _UNAUTHORIZED:
            raise NotReached(f"{self._address} does not know who asks: {told.get('detail')}")
        raise Refused(told)

    @property
    def _address(self) -> str:
        """Without a path, or a password that stands in it."""
        return f"{self._http.base_url.scheme}://{self._http.base_url.netloc.decode()}"

    def _body(self, response: httpx.Response) -> Any:
        foreign = NotReached(
            f"{self._address} answered {response.status_code} with something that is not Mediabus' API: "
            "is the address right, and the service behind it up?"
        )
        try:
            body = response.json()
        except ValueError:
            raise foreign from None
        if not response.is_success and not (isinstance(body, dict) and "title" in body):
            raise foreign
        return body


@contextmanager
def signed_in(environment: Mapping[str, str]) -> Iterator[Session]:
    """By an API key at the address that the environment names, else as the embedded stack's superadmin."""
    url, key = environment.get(URL_VARIABLE, "").strip(), environment.get(KEY_VARIABLE, "").strip()
    if url and key:
        if not (key.isascii() and key.isprintable()):
            raise NotReached(f"{KEY_VARIABLE} is no API key: it has signs that none has")
        with _client(url, {"Authorization": f"Bearer {key}"}) as http:
            yield Session(http)
    elif url or key:
        missing = KEY_VARIABLE if url else URL_VARIABLE
        raise NotReached(f"{missing} is not set: set {URL_VARIABLE} and {KEY_VARIABLE}, or neither")
    else:
        with _as_superadmin(_Stack.running()) as session:
            yield session


@contextmanager
def _as_superadmin(stack: _Stack) -> Iterator[Session]:
    with _client(stack.url, {"Origin": stack.url}, trust_env=False) as http:
        session = Session(http)
        try:
            session.ask("POST", "/api/auth/login", body={"email": stack.email, "password": stack.password})
        except Refused as refusal:
            raise NotReached(f"{stack.url} lets nobody sign in now: {refusal.title}. {refusal.detail}") from refusal
        try:
            yield session
        finally:
            # What was asked is answered; a session that could not be ended here ends by its time.
            with suppress(httpx.HTTPError):
                http.post("/api/auth/logout")


def _client(url: str, headers: Mapping[str, str], *, trust_env: bool = True) -> httpx.Client:
    """Without `trust_env` no proxy of the environment stands between."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NotReached(f"{URL_VARIABLE} is no address ({error})") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise NotReached(f"{URL_VARIABLE} is no address: one looks like https://media.example.org")
    return httpx.Client(base_url=address, headers=dict(headers), timeout=TIMEOUT, trust_env=trust_env)


@dataclass(frozen=True, slots=True)
class _Stack:
    """What the embedded stack's `stack.json` tells of its API."""

    url: str
    email: str
    password: str

    @classmethod
    def running(cls) -> _Stack:
        """Raises NotReached where no stack is ready."""
        file = StackFolder.configured().stack_file
        try:
            told = json.loads(file.read_text())
            superadmin = told["superadmin"]
            url, email, password = told["baseUrl"], superadmin["email"], superadmin["password"]
        except FileNotFoundError:
            raise NotReached(
                f"no embedded stack is ready in {file.parent}: start it with `make stack-start`, or set "
                f"{URL_VARIABLE} and {KEY_VARIABLE} for another installation"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotReached(f"{file} can't be read ({error!r})") from error
        if url is None:
            raise NotReached(f"the embedded stack in {file.parent} runs without ingest-api")
        return cls(url, email, password)
