"""Roles, passwords, keys, origins, limits and cursors, as functions of values."""

from __future__ import annotations

import asyncio
import threading
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from litestar.exceptions import HTTPException, NotFoundException, ValidationException

from ingest_api.accounts import ApiKeyText, Principal, Role, new_secret, normalised_email, password_fault, secret_hash
from ingest_api.cursors import encode_cursor, id_of
from ingest_api.field_faults import FieldError, missing
from ingest_api.passwords import Argon2Parameters, Passwords
from ingest_api.problem_details import CODES, Problem, problem_of, retry_after
from ingest_api.rate_limit import LoginAttempt, LoginLimits
from ingest_api.same_origin import CallOrigin, call_origin
from ingest_api.sessions import SessionCookie, SessionPolicy
from ingest_api.sign_in import counted_address
from shared.messaging.errors import InfrastructureUnavailable

ORDER = [Role.GUEST, Role.PHOTOGRAPHER, Role.ADMIN, Role.SUPERADMIN]
CHEAP = Argon2Parameters(time_cost=1, memory_kib=64)


@pytest.mark.parametrize(("mine", "needed"), list(product(ORDER, ORDER)))
def test_each_role_includes_itself_and_those_below(mine: Role, needed: Role) -> None:
    assert mine.includes(needed) == (ORDER.index(mine) >= ORDER.index(needed))
    assert mine.at_most(needed) == ORDER[min(ORDER.index(mine), ORDER.index(needed))]
    assert Principal(uuid4(), "a@b", mine, "session").may(needed) == mine.includes(needed)


@pytest.mark.parametrize(
    ("text", "email"),
    [
        (" Name@Example.ORG ", "name@example.org"),
        ("a@localhost", "a@localhost"),
        ("jose\u0301@example.org", "jos\u00e9@example.org"),
        ("name", None),
        ("a@b@c", None),
        ("a b@c.org", None),
        ("a@b..org", None),
        ("a\x00@b.org", None),
        ("@b.org", None),
        ("a@", None),
        ("a@" + "b" * 260, None),
    ],
)
def test_addresses_are_stored_in_one_form(text: str, email: str | None) -> None:
    assert normalised_email(text) == email


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("correct horse battery", None),
        ("a very good passphrase", None),
        ("Tr0ub4dor&3", None),
        ("päss wörter", None),
        ("short1!", "at least 8"),
        ("x" * 257, "at most 256"),
        ("abababababab", "different characters"),
        ("photographer@example.org", "e-mail"),
        ("Photographer2024", "e-mail"),
        ("Password123!", "first that are guessed"),
        ("12345678", "first that are guessed"),
        ("QWERTYUIOP", "first that are guessed"),
    ],
)
def test_passwords_are_long_and_not_what_is_guessed_first(password: str, fault: str | None) -> None:
    found = password_fault(password, "photographer@example.org")
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


def test_a_key_says_which_it_is_and_hides_its_secret() -> None:
    key = ApiKeyText(uuid4(), new_secret())
    assert ApiKeyText.parse(str(key)) == key
    assert str(key).startswith(f"mb_{key.id.hex}_")
    assert key.secret not in repr(key)
    assert len(secret_hash(key.secret)) == 32


@pytest.mark.parametrize("text", ["", "mb", "mb__", f"mb_{'g' * 32}_{'s' * 43}", f"xx_{'0' * 32}_{'s' * 43}", "mb_0_s"])
def test_what_is_no_key_is_none(text: str) -> None:
    assert ApiKeyText.parse(text) is None


def test_secrets_with_underscores_survive() -> None:
    key = ApiKeyText(uuid4(), "_" * 43)
    assert ApiKeyText.parse(str(key)) == key


HOST = "media.example.org"


@pytest.mark.parametrize(
    ("origin", "fetch_site", "expected"),
    [
        ("https://media.example.org", None, CallOrigin.SAME),
        ("http://MEDIA.example.org", None, CallOrigin.SAME),
        ("https://public.example.org", None, CallOrigin.SAME),
        ("https://media.example.org:8443", None, CallOrigin.FOREIGN),
        ("https://media.example.org.evil.test", None, CallOrigin.FOREIGN),
        ("https://evil.test/media.example.org", None, CallOrigin.FOREIGN),
        ("https://media.example.org@evil.test", None, CallOrigin.FOREIGN),
        ("file://media.example.org", None, CallOrigin.FOREIGN),
        ("null", "same-origin", CallOrigin.FOREIGN),
        ("", None, CallOrigin.FOREIGN),
        ("http://[", None, CallOrigin.FOREIGN),
        (None, "same-origin", CallOrigin.SAME),
        (None, "same-site", CallOrigin.FOREIGN),
        (None, "none", CallOrigin.FOREIGN),
        (None, None, CallOrigin.UNKNOWN),
    ],
)
def test_only_our_own_pages_are_of_the_same_origin(
    origin: str | None, fetch_site: str | None, expected: CallOrigin
) -> None:
    assert call_origin(origin, fetch_site, HOST, {"https://public.example.org"}) is expected


def test_without_a_host_nothing_is_of_the_same_origin() -> None:
    assert call_origin("https://", None, None) is CallOrigin.FOREIGN


LIMITS = LoginLimits(window_seconds=100, per_account_and_address=2, per_address=4, per_account=6)


def attempts(*ages_seconds: float, account: bool = True, address: bool = True) -> list[LoginAttempt]:
    return [LoginAttempt(account, address, age) for age in ages_seconds]


@pytest.mark.parametrize(
    ("found", "wait_seconds"),
    [
        (attempts(0), None),
        (attempts(0, 10), None),
        (attempts(0, 10, 30), 70),
        (attempts(0, 99.9, 99.95), 1),
        (attempts(0, 100, 101), None),
        (attempts(0) + attempts(1, 2, 3, account=False), None),
        (attempts(0) + attempts(1, 2, 3, 40, account=False), 60),
        (attempts(0) + attempts(1, 2, 3, 4, 5, address=False), None),
        (attempts(0) + attempts(1, 2, 3, 4, 5, 60, address=False), 40),
        (attempts(0, 1, 90) + attempts(2, 3, 4, account=False), 96),
    ],
)
def test_attempts_are_admitted_up_to_each_limit(found: list[LoginAttempt], wait_seconds: float | None) -> None:
    assert LIMITS.wait_seconds(found) == (None if wait_seconds is None else pytest.approx(wait_seconds))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::"),
        ("", "::"),
        ("a client", "::"),
    ],
)
def test_attempts_are_counted_for_an_address_or_an_ipv6_network(address: str, counted: str) -> None:
    assert counted_address(address) == counted


def test_after_the_wait_the_next_attempt_is_admitted() -> None:
    refused = attempts(0, 10, 30)
    waited = LIMITS.wait_seconds(refused)
    assert waited is not None
    kept = [LoginAttempt(True, True, attempt.age_seconds + waited) for attempt in refused[1:]]
    assert LIMITS.wait_seconds([*attempts(0), *kept]) is None


def test_sessions_are_noted_at_most_once_a_minute() -> None:
    assert SessionPolicy().touch_seconds == 60
    assert SessionPolicy(idle_seconds=10).touch_seconds == 1
    assert SessionCookie(secure=True).name.startswith("__Host-")


async def test_passwords_are_checked_and_renewed_when_the_cost_changes() -> None:
    old, new = Passwords(CHEAP), Passwords(Argon2Parameters(time_cost=2, memory_kib=64))
    stored = await old.hash("phrase")
    assert stored.startswith("$argon2id$")
    assert (await old.verify(stored, "phrase")).new_hash is None
    assert not (await new.verify(stored, "other")).right
    renewed = await new.verify(stored, "phrase")
    assert renewed.right
    assert renewed.new_hash is not None
    assert (await new.verify(renewed.new_hash, "phrase")).right
    assert not (await new.verify(None, "phrase")).right
    old.close()
    new.close()


async def test_hashing_is_bounded_in_threads_queue_and_time() -> None:
    passwords = Passwords(CHEAP, threads=1, waiting=2, deadline_seconds=0.2)
    go_on = threading.Event()
    blocked = asyncio.create_task(passwords._run(go_on.wait))
    late = asyncio.create_task(passwords.hash("phrase"))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as full:
        await passwords.hash("phrase")
    assert not late.done(), "it was refused at once"
    with pytest.raises(Problem) as timed_out:
        await late
    assert {full.value.status, timed_out.value.status} == {503}
    go_on.set()
    await asyncio.gather(blocked, return_exceptions=True)
    passwords.close()


def test_cursors_are_opaque_and_checked() -> None:
    position = uuid4()
    assert id_of(encode_cursor(str(position))) == position
    assert id_of(None) is None
    for bad in ("", "!", "a", "%%%", encode_cursor("not an id"), "\u00e9"):
        with pytest.raises(Problem) as refused:
            id_of(bad)
        assert (refused.value.status, refused.value.code) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem(409, "conflict", "d"), 409, "conflict"),
        (InfrastructureUnavailable("postgresql", "secret host"), 503, "service_unavailable"),
        (NotFoundException(), 404, "not_found"),
        (HTTPException(status_code=418, detail="teapot"), 418, "bad_request"),
        (HTTPException(status_code=500, detail="secret"), 500, "internal_error"),
        (RuntimeError("secret"), 500, "internal_error"),
        (RecursionError("maximum recursion depth exceeded"), 500, "internal_error"),
        (ValidationException("bad"), 400, "bad_request"),
    ],
)
def test_every_error_becomes_a_problem_that_gives_nothing_away(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert "secret" not in problem.detail
    assert ("Retry-After" in problem.headers) == (status == 503)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([{"key": "email", "message": "Field required", "source": "body"}], missing("email")),
        ([{"key": "data", "message": "Object missing required field `role`"}], missing("role")),
        ([{"key": "data", "message": "'data'"}], missing("body")),
        (
            [{"key": "limit", "message": "Expected `int` <= 200"}],
            FieldError("limit", "Expected `int` <= 200", "too_large", {"most": "200"}),
        ),
    ],
)
def test_validation_errors_name_their_fields(extra: list[dict[str, Any]], expected: FieldError) -> None:
    problem = problem_of(ValidationException("bad", extra=extra))
    assert (problem.status, problem.errors) == (422, (expected,))
    assert expected.field in problem.detail


def test_an_unknown_code_can_not_be_raised() -> None:
    with pytest.raises(ValueError, match="add it to"):
        Problem(400, "never_heard_of", "d")
    assert all(title and not title.endswith(".") for title in CODES.values())


def test_retry_after_is_at_least_a_second() -> None:
    assert retry_after(0.01) == {"Retry-After": "1"}
