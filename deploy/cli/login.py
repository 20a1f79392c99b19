"""`mediabus login`, `logout` and `whoami`: whom commands ask, and as whom."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import httpx
import typer

from deploy.cli.asking import AsJson, asking, ended_by_problems, show
from deploy.cli.output import Shown, facts_table, print_json_text, print_note, print_shown
from deploy.cli.problems import NotReached, Refused
from deploy.cli.profile import Profile, profile_file
from deploy.cli.session import KEY_VARIABLE, URL_VARIABLE, Session, by_profile, client, origin

ME: Final = "/api/auth/me"


def login(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Such as https://media.example.org; asked for if not given.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Of the account; asked for if not given.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read an API key from stdin in place of an account's password.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign in, and keep that for the commands to come.

    The password is not kept: it begins a session, which ends by its time or at `mediabus logout`. An API key holds
    until it is revoked.
    """
    if key_stdin and (password_stdin or email is not None):
        raise typer.BadParameter("an API key needs no --email and no --password-stdin")
    address = (url or os.environ.get(URL_VARIABLE) or typer.prompt("URL", err=True)).strip()
    with ended_by_problems():
        client(address, {}, named="URL").close()
        _warn_of_open_road(address)
        if key_stdin:
            profile = Profile(address, key=sys.stdin.readline().strip())
        else:
            account = email or typer.prompt("E-mail", err=True)
            password = (
                sys.stdin.readline().rstrip("\n")
                if password_stdin
                else typer.prompt("Password", hide_input=True, err=True)
            )
            profile = _with_session(address, account, password)
        with client(address, by_profile(profile), named="URL") as http:
            answer = Session(http, "what was typed").ask("GET", ME)
        file = profile_file(os.environ)
        try:
            profile.write(file)
        except OSError as error:
            raise NotReached(f"{file} can't be written ({error})") from error
    if os.environ.get(URL_VARIABLE) and os.environ.get(KEY_VARIABLE):
        print_note(f"note: {URL_VARIABLE} and {KEY_VARIABLE} are set, and go before what is kept")
    show(answer, lambda body: [f"Signed in at {origin(address)} as {body['user']['email']}."], as_json=as_json)


def logout(as_json: AsJson = False) -> None:
    """Forget what `mediabus login` keeps, and end its session."""
    file = profile_file(os.environ)
    with ended_by_problems():
        profile = Profile.read(file)
        if profile is not None:
            file.unlink(missing_ok=True)
    if profile is None:
        said = "Nobody was signed in."
    elif profile.key is not None:
        said = f"The API key of {origin(profile.url)} is forgotten here; it holds until `mediabus keys revoke`."
    elif _end_session(profile):
        said = f"Signed out at {origin(profile.url)}."
    else:
        said = f"{origin(profile.url)} is not reached: the session is forgotten here, and ends there by its time."
    if as_json:
        print_json_text("null")
    else:
        print_shown([said])


def whoami(as_json: AsJson = False) -> None:
    """Show who asks, where, and what says so."""
    with asking() as session:

        def view(body: Any) -> Sequence[Shown]:
            user = body["user"]
            facts = {"role": user["role"], "id": user["id"], "at": session.address, "told by": session.known_by}
            return [facts_table(user["email"], facts)]

        show(session.ask("GET", ME), view, as_json=as_json)


def _with_session(url: str, email: str, password: str) -> Profile:
    """Raises Refused for a wrong pair: it is an answer, not a lost session."""
    with client(url, {"Origin": origin(url)}, named="URL") as http:
        try:
            response = http.post("/api/auth/login", json={"email": email, "password": password})
        except httpx.HTTPError as error:
            raise NotReached(f"{origin(url)} is not reached ({error}): is it running?") from error
        if response.status_code == 401 and response.headers.get("content-type", "").endswith("json"):
            raise Refused(401, {"title": "Nobody is signed in", **response.json()})
        Session(http, "what was typed").read(response)
        cookie = next(((name, value) for name, value in response.cookies.items() if "mediabus_session" in name), None)
    if cookie is None:
        raise NotReached(f"{origin(url)} answered without a session: is it Mediabus' API?")
    return Profile(url, cookie=cookie)


def _end_session(profile: Profile) -> bool:
    """Whether the server was told."""
    with suppress(httpx.HTTPError, NotReached), client(profile.url, by_profile(profile), named="the profile") as http:
        return http.post("/api/auth/logout").is_success
    return False


def _warn_of_open_road(url: str) -> None:
    address = httpx.URL(url)
    host = address.host
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if address.scheme == "http" and host != "localhost":
        print_note(f"warning: {origin(url)} is plain HTTP: whoever is on the way reads what you send")
