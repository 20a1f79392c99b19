"""The WebSocket on a real PostgreSQL: own messages in order, replay of what was missed, outages, slow clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from deploy.local.ports import free_port
from ingest_api.accounts import ApiKeyText, Principal, Role, new_secret
from ingest_api.sign_in import SignIn
from ingest_api.sockets import NoticeStream, TooSlow
from shared.db.pool import Database
from shared.events import ImageProgressV1, ProcessImageV1
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.ingest_site import IngestSite, running_site
from tests.outcomes import failed, processed

pytestmark = pytest.mark.stack


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media") as running:
        yield running


@asynccontextmanager
async def socket(site: IngestSite, query: str = "", **headers: str) -> AsyncIterator[ClientConnection]:
    address = f"ws://127.0.0.1:{site.port}/api/ws{query}"
    sent = headers or {"Authorization": f"Bearer {site.key}"}
    async with asyncio.timeout(60), websockets.connect(address, additional_headers=sent) as connection:
        yield connection


async def next_message(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await connection.recv())
        return message


async def commanded(site: IngestSite, **options: Any) -> ProcessImageV1:
    await site.uploaded(**options)
    newest = "SELECT payload FROM outbox WHERE topic = 'image.process' ORDER BY id DESC LIMIT 1"
    return ProcessImageV1.model_validate_json(await site.rows.fetchval(newest))


def progress(command: ProcessImageV1, percent: int) -> ImageProgressV1:
    fact = {"job_id": command.job_id, "media_id": command.media_id, "progress": percent, "attempt": 1}
    return ImageProgressV1.model_validate(fact)


async def test_messages_have_the_shape_that_clients_know(site: IngestSite) -> None:
    good, bad = await commanded(site), await commanded(site)
    async with socket(site, "?after=0") as connection:
        await site.handlers.deliver(progress(good, 10))
        await site.handlers.deliver(processed(good))
        await site.handlers.deliver(failed(bad))
        messages = [await next_message(connection) for _ in range(3)]
    of_good = {"jobId": str(good.job_id), "mediaId": str(good.media_id)}
    assert messages[0] == {"id": 1, "type": "media:progress", **of_good, "progress": 10}
    urls = messages[1].pop("urls")
    assert set(urls) == {"640", "200"}
    assert messages[1] == {"id": 2, "type": "media:processed", **of_good, "success": True, "error": None}
    assert messages[2] == {
        "id": 3,
        "type": "media:processed",
        "jobId": str(bad.job_id),
        "mediaId": str(bad.media_id),
        "success": False,
        "urls": None,
        "error": {"code": "image_truncated", "detail": "It ends too early."},
    }


async def test_what_was_missed_is_replayed_in_order(site: IngestSite) -> None:
    commands = [await commanded(site) for _ in range(3)]
    for command in commands:
        for percent in (10, 50, 80):
            await site.handlers.deliver(progress(command, percent))
        await site.handlers.deliver(processed(command))
    async with socket(site, "?after=5") as connection:
        ids = [(await next_message(connection))["id"] for _ in range(7)]
        assert ids == [6, 7, 8, 9, 10, 11, 12]
        await site.handlers.deliver(progress(await commanded(site), 10))
        assert (await next_message(connection))["id"] == 13
    async with socket(site, "?after=0") as connection:
        assert [(await next_message(connection))["id"] for _ in range(13)] == list(range(1, 14))


async def test_a_number_from_the_future_does_not_silence_the_socket(site: IngestSite) -> None:
    command = await commanded(site)
    async with socket(site, "?after=999999") as connection:
        await site.handlers.deliver(progress(command, 10))
        assert (await next_message(connection))["id"] == 1


@pytest.mark.parametrize("after", ["-1", "-99999999999999999999"])
async def test_a_number_below_all_begins_with_the_first(site: IngestSite, after: str) -> None:
    await site.handlers.deliver(progress(await commanded(site), 10))
    async with socket(site, f"?after={after}") as connection:
        assert (await next_message(connection))["id"] == 1


async def test_numbers_become_visible_in_order_whatever_commits_first(site: IngestSite) -> None:
    """Many notices at once: a reader that goes on after the last number it saw misses none."""
    commands = [await commanded(site) for _ in range(12)]
    async with socket(site, "?after=0") as connection:
        await asyncio.gather(*(site.handlers.deliver(processed(command)) for command in commands))
        ids = [(await next_message(connection))["id"] for _ in commands]
    assert ids == list(range(1, len(commands) + 1))


async def test_everyone_hears_of_their_own_uploads_alone(site: IngestSite) -> None:
    other = await site.key_of(Role.ADMIN)
    mine, theirs = await commanded(site), await commanded(site, headers={"Authorization": f"Bearer {other}"})
    async with (
        socket(site, "?after=0") as my_socket,
        socket(site, "?after=0", Authorization=f"Bearer {other}") as their_socket,
    ):
        await site.handlers.deliver(processed(theirs))
        await site.handlers.deliver(processed(mine))
        assert (await next_message(my_socket))["jobId"] == str(mine.job_id)
        assert (await next_message(their_socket))["jobId"] == str(theirs.job_id)


async def test_a_ticket_opens_one_socket(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(processed(command))
    ticket = (await site.api.post("/api/auth/ticket")).json()["ticket"]
    query = f"?ticket={ticket}&after=0"
    async with socket(site, query, **{"X-Nothing": "else"}) as connection:
        assert (await next_message(connection))["jobId"] == str(command.job_id)
    assert (await refusal(site, query, **NOBODY))["code"] == "not_signed_in"


NOBODY = {"X-Nothing": "else"}


async def refusal(site: IngestSite, query: str = "", **headers: str) -> dict[str, Any]:
    """The HTTP answer to the handshake: the problem, with the headers under `headers`."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with socket(site, query, **headers):
            pass
    answer = refused.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.body or b"")
    assert problem["status"] == answer.status_code
    return problem | {"headers": answer.headers}


@asynccontextmanager
async def signed_in(site: IngestSite) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A browser of the site's superadmin, and its cookie."""
    async with httpx.AsyncClient(base_url=site.base_url, headers={"Origin": site.base_url}, timeout=30) as browser:
        password_hash = await site.sign_in.passwords.hash("pw")
        await site.rows.execute(
            "UPDATE users SET email = 'me@example.test', password_hash = $1 WHERE id = $2", password_hash, site.user_id
        )
        login = {"email": "me@example.test", "password": "pw"}
        assert (await browser.post("/api/auth/login", json=login)).status_code == 200
        yield browser, "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


async def test_who_is_refused_is_told_why_in_http(site: IngestSite, database: TestDatabase) -> None:
    nobody = await refusal(site, **NOBODY)
    assert (nobody["status"], nobody["code"]) == (401, "not_signed_in")
    assert nobody["headers"]["www-authenticate"] == "Bearer"
    revoked = await refusal(site, Authorization=f"Bearer {ApiKeyText(new_id(), new_secret())}")
    assert (revoked["status"], revoked["code"]) == (401, "not_signed_in")
    malformed = await refusal(site, "?after=soon")
    assert (malformed["status"], [error["field"] for error in malformed["errors"]]) == (422, ["after"])
    async with signed_in(site) as (_, cookie):
        foreign = await refusal(site, Cookie=cookie, Origin="https://evil.example")
        assert (foreign["status"], foreign["code"]) == (403, "cross_origin")
        async with socket(site, "?after=0", Cookie=cookie, Origin=site.base_url):
            pass
    site.sign_in.forget()
    away = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere", application_name="tests")
    site.sign_in.database = away
    unknown = await refusal(site)
    assert (unknown["status"], unknown["code"]) == (503, "service_unavailable")
    assert int(unknown["headers"]["retry-after"]) >= 1


async def closed_with(connection: ClientConnection) -> int:
    async with asyncio.timeout(30):
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_a_socket_ends_with_what_opened_it(database: TestDatabase, tmp_path: Path) -> None:
    """With the session on signing out, with the key on its revocation, with the account; a ticket counts as either."""
    async with running_site(database, tmp_path / "media", socket_check_seconds=0.1) as site:
        wanted = {"name": "k", "role": "photographer"}
        async with signed_in(site) as (browser, cookie):
            key = (await browser.post("/api/admin/api-keys", json=wanted)).json()
            by_key = {"Authorization": f"Bearer {key['key']}"}
            tickets = [
                (await browser.post("/api/auth/ticket")).json()["ticket"],
                (await site.api.post("/api/auth/ticket", headers=by_key)).json()["ticket"],
            ]
            async with (
                socket(site, Cookie=cookie) as of_session,
                socket(site, f"?ticket={tickets[0]}", **NOBODY) as of_its_ticket,
                socket(site, **by_key) as of_key,
                socket(site, f"?ticket={tickets[1]}", **NOBODY) as of_keys_ticket,
                socket(site) as of_other_key,
            ):
                assert (await browser.post("/api/auth/logout")).status_code == 204
                assert [await closed_with(each) for each in (of_session, of_its_ticket)] == [4401, 4401]
                assert (await site.api.delete(f"/api/admin/api-keys/{key['id']}")).status_code == 204
                assert [await closed_with(each) for each in (of_key, of_keys_ticket)] == [4401, 4401]
                await of_other_key.ping()
                await site.rows.execute("DELETE FROM users WHERE id = $1", site.user_id)
                assert await closed_with(of_other_key) == 4401


async def test_nobody_is_sent_off_while_the_database_is_away(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(database, tmp_path / "media", socket_check_seconds=0.05) as site, socket(site) as listener:
        tried = asyncio.Event()

        async def away(self: SignIn, principal: Principal, needed: Role) -> bool:
            tried.set()
            raise InfrastructureUnavailable("postgresql", "away")

        with monkeypatch.context() as patched:
            patched.setattr(SignIn, "still_admits", away)
            async with asyncio.timeout(30):
                await tried.wait()
        await site.handlers.deliver(processed(await commanded(site)))
        assert (await next_message(listener))["type"] == "media:processed"
        await site.rows.execute("DELETE FROM api_keys")
        assert await closed_with(listener) == 4401


async def test_the_socket_outlives_lost_connections_to_the_database(site: IngestSite) -> None:
    command = await commanded(site)
    async with socket(site, "?after=0") as connection:
        terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await site.rows.execute(f"{terminate} AND usename = current_user AND application_name LIKE 'tests%'")

        async def told() -> bool:
            try:
                await site.handlers.deliver(processed(command))
            except InfrastructureUnavailable:
                return False
            return True

        await eventually(told, why="the pool has good connections again")
        assert (await next_message(connection))["jobId"] == str(command.job_id)


async def test_without_a_number_it_begins_with_what_comes(site: IngestSite) -> None:
    old, new = await commanded(site), await commanded(site)
    await site.handlers.deliver(processed(old))
    async with socket(site) as connection:
        receiving = asyncio.create_task(next_message(connection))

        async def told() -> bool:
            # When the socket listens is not to be seen from here, so tell until something comes.
            await site.handlers.deliver(progress(new, 10))
            await site.rows.execute("UPDATE jobs SET progress = 0 WHERE status = 'active'")
            return receiving.done()

        await eventually(told)
        assert (await receiving)["jobId"] == str(new.job_id)


async def test_lost_notifications_cost_only_time(site: IngestSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_api.sockets.LOOK_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(site.hub, "_sleepers", {})
    command = await commanded(site)
    async with socket(site, "?after=0") as connection:
        site.hub._sleepers.clear()
        await site.handlers.deliver(processed(command))
        assert (await next_message(connection))["jobId"] == str(command.job_id)


async def test_a_client_that_does_not_read_is_given_up(site: IngestSite) -> None:
    command = await commanded(site)
    await site.handlers.deliver(processed(command))
    stream = NoticeStream(site.database, site.hub, site_records(site), send_seconds=0.1)

    async def never_taken(_: dict[str, Any]) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TooSlow):
        await stream.run(site.user_id, 0, never_taken)
    assert not site.hub._sleepers, "nobody listens any more"


def site_records(site: IngestSite) -> Any:
    from ingest_api.catalogue import Records
    from ingest_api.media_urls import MediaUrls

    return Records(MediaUrls(site.settings.signing_key_bytes, 60))


async def test_sockets_are_bounded_in_number_and_time(database: TestDatabase, tmp_path: Path) -> None:
    async with running_site(database, tmp_path / "media", sockets=1) as site:
        async with socket(site):
            second = await refusal(site)
            assert (second["status"], second["code"]) == (429, "too_many_requests")
            assert int(second["headers"]["retry-after"]) >= 1
        await site.handlers.deliver(processed(await commanded(site)))

        async def has_a_place() -> bool:
            with suppress(websockets.InvalidStatus):
                async with socket(site, "?after=0") as third:
                    return bool((await next_message(third))["type"] == "media:processed")
            return False

        await eventually(has_a_place, why="the place of the first is free again")
    bounds = {"sockets": 1, "socket_lifetime_seconds": 0.2}
    async with running_site(database, tmp_path / "media", **bounds) as site:
        for _ in range(2):
            await eventually(partial(ends_by_itself, site), why="one after the other has the place for its time")


async def ends_by_itself(site: IngestSite) -> bool:
    """False where no place was free yet."""
    with suppress(websockets.InvalidStatus):
        async with socket(site) as connection:
            assert await closed_with(connection) == 4409
            return True
    return False
