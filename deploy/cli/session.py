"""Where the API is, who asks, and its answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, Final

import httpx

from deploy.cli.problems import NotReached, Refused
from deploy.cli.profile import Profile, profile_file
from deploy.local.stack_folder import StackFolder

URL_VARIABLE: Final = "MEDIABUS_URL"
KEY_VARIABLE: Final = "MEDIABUS_API_KEY"
TIMEOUT: Final = httpx.Timeout(30, connect=5)
"""Seconds; the API itself waits up to 10 for the services behind it."""
FORM_TIMEOUT: Final = httpx.Timeout(120, connect=5)
"""Files wait for their turn before they are read."""
MOST_CONNECTIONS: Final = 32

_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the body as it came, `body` what it says; of an answer without a body "" and None."""

    text: str
    body: Any


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body: text fields, and a file that is read while it is sent."""

    fields: Mapping[str, str]
    filename: str
    file: IO[bytes]


class Session:
    """Asks as one who is known to the API; threads may share it. `known_by` says to people where that comes from."""

    def __init__(self, http: httpx.Client, known_by: str) -> None:
        self._http = http
        self.known_by = known_by

    @property
    def address(self) -> str:
        """Without a path, or a password that stands in it."""
        return f"{self._http.base_url.scheme}://{self._http.base_url.netloc.decode()}"

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        *,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises Refused or NotReached. Nothing is asked a second time by itself."""
        with self._failures():
            response = self._http.request(
                method,
                path,
                params=params,
                json=body,
                data=None if form is None else dict(form.fields),
                files=None if form is None else {"file": (form.filename, form.file)},
                headers=headers,
                timeout=TIMEOUT if form is None else FORM_TIMEOUT,
            )
        return self.read(response)

    @contextmanager
    def reading(self, path: str, params: Mapping[str, str | int] | None = None) -> Iterator[httpx.Response]:
        """The bytes at an address of the API, or where it sends us from there, while they arrive."""
        with self._failures(), self._http.stream("GET", path, params=params, follow_redirects=True) as response:
            if not response.is_success:
                response.read()
                self.read(response)
            yield response

    def read(self, response: httpx.Response) -> Answer:
        """Raises Refused or NotReached for what is no good answer."""
        if response.is_success and not response.content:
            return Answer("", None)
        told = self._body(response)
        if response.is_success:
            return Answer(response.text, told)
        if response.status_code == _UNAUTHORIZED:
            raise NotReached(
                f"{self.address} does not know who asks: {told.get('detail')} (asked as told by {self.known_by}; "
                "`mediabus login` signs in)"
            )
        raise Refused(response.status_code, told, response.headers.get("retry-after"))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise NotReached(f"{self.address} is not reached ({error}): is it running?", may_pass=True) from error
        except httpx.HTTPError as error:
            raise NotReached(
                f"{self.address} did not answer ({error!r}): what was asked may be done or not", may_pass=True
            ) from error

    def _body(self, response: httpx.Response) -> Any:
        foreign = NotReached(
            f"{self.address} answered {response.status_code} with something that is not Mediabus' API: "
            "is the address right, and the service behind it up?",
            may_pass=response.is_server_error,
            refused_with=response.status_code if response.is_client_error else None,
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
    """As the environment says, else as `mediabus login` keeps it, else as the embedded stack's superadmin."""
    url, key = environment.get(URL_VARIABLE, "").strip(), environment.get(KEY_VARIABLE, "").strip()
    file = profile_file(environment)
    if url and key:
        with client(url, by_key(key, KEY_VARIABLE), named=URL_VARIABLE) as http:
            yield Session(http, f"{URL_VARIABLE} and {KEY_VARIABLE}")
    elif url or key:
        missing = KEY_VARIABLE if url else URL_VARIABLE
        raise NotReached(f"{missing} is not set: set {URL_VARIABLE} and {KEY_VARIABLE}, or neither")
    elif (profile := Profile.read(file)) is not None:
        with client(profile.url, by_profile(profile), named=str(file)) as http:
            yield Session(http, str(file))
    else:
        with _as_superadmin(EmbeddedStack.running()) as session:
            yield session


@contextmanager
def _as_superadmin(stack: EmbeddedStack) -> Iterator[Session]:
    with client(stack.url, {"Origin": stack.url}, named="stack.json", trust_env=False) as http:
        session = Session(http, "the embedded stack, as its superadmin")
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


def by_key(key: str, named: str) -> Mapping[str, str]:
    if not (key.isascii() and key.isprintable() and key):
        raise NotReached(f"{named} is no API key: it has signs that none has")
    return {"Authorization": f"Bearer {key}"}


def by_profile(profile: Profile) -> Mapping[str, str]:
    if profile.cookie is None:
        return by_key(profile.key or "", "the key of the profile")
    name, value = profile.cookie
    return {"Cookie": f"{name}={value}", "Origin": origin(profile.url)}


def origin(url: str) -> str:
    """As a browser names it: changes that a cookie vouches for need one."""
    address = httpx.URL(url)
    return f"{address.scheme}://{address.netloc.decode()}"


def client(url: str, headers: Mapping[str, str], *, named: str, trust_env: bool = True) -> httpx.Client:
    """`named` is where the address stands. Without `trust_env` no proxy of the environment stands between."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NotReached(f"{named} is no address ({error})") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise NotReached(f"{named} is no address: one looks like https://media.example.org")
    return httpx.Client(
        base_url=address,
        headers=dict(headers),
        timeout=TIMEOUT,
        trust_env=trust_env,
        verify=_authorities(),
        limits=httpx.Limits(max_connections=MOST_CONNECTIONS),
    )


@cache
def _authorities() -> ssl.SSLContext:
    """Loaded once: that takes longer than most questions."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class EmbeddedStack:
    """What the embedded stack's `stack.json` tells of its API."""

    url: str
    email: str
    password: str

    @classmethod
    def running(cls) -> EmbeddedStack:
        """Raises NotReached where no stack is ready."""
        file = StackFolder.configured().stack_file
        try:
            told = json.loads(file.read_text())
            superadmin = told["superadmin"]
            url, email, password = told["baseUrl"], superadmin["email"], superadmin["password"]
        except FileNotFoundError:
            raise NotReached(
                f"no embedded stack is ready in {file.parent}: start it with `make stack-start`, or name another "
                f"installation with `mediabus login`, or by {URL_VARIABLE} and {KEY_VARIABLE}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotReached(f"{file} can't be read ({error!r})") from error
        if url is None:
            raise NotReached(f"the embedded stack in {file.parent} runs without ingest-api")
        return cls(url, email, password)
