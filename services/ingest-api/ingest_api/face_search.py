"""Searches for a face: asked of face-embedder, recorded before and after, shown without what is hidden."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from ingest_api.answers import Answers
from ingest_api.errors import storage_refusals
from ingest_api.photo_event import PhotoEvent
from ingest_api.photo_urls import PhotoUrls
from ingest_api.problem_details import RETRY_AFTER_SECONDS, FieldError, InvalidFields, Problem, retry_after
from ingest_api.repositories.event_photos import EventPhotoRepository
from ingest_api.repositories.face_searches import (
    FaceSearchRepository,
    FoundMatch,
    SearchRecord,
    SearchResult,
    Seeker,
    found_matches,
)
from ingest_api.repositories.photo_events import PhotoEventRepository
from ingest_api.selfie_form import MOST_MATCHES, SearchWish, Selfie
from ingest_api.settings import IngestSettings
from shared.db.pool import Database
from shared.events import AnswerV1, SearchFacesV1
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.sealed import SealedSelfies
from shared.telemetry import metrics

log = logging.getLogger(__name__)

LEFTOVER_SECONDS: Final = 120.0
SWEEP_EVERY_SECONDS: Final = 30.0
ASKED: Final = "asked"
"""The outcome of a search of which no end was recorded: its process went, or its caller did."""

FOR_ERASURE: Final = "for_erasure"
"""The outcome of a search that proposed what to erase."""


@dataclass(frozen=True, slots=True)
class ShownMatch:
    """A match with the addresses of its files; without the original `image_url` is None."""

    photo_id: UUID
    s3_key: str
    image_url: str | None
    preview_url: str | None
    similarity: float
    box: tuple[float, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some matches of a search; `next_position` is where the next ones begin, None behind the last."""

    result: SearchResult
    matches: tuple[ShownMatch, ...]
    next_position: int | None


class FaceSearch:
    """Nobody gets a match of which there is no record, nor one that is hidden by now."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        sealed_selfies: SealedSelfies | None,
        urls: PhotoUrls,
        settings: IngestSettings,
    ) -> None:
        """`sealed_selfies` is None where no key is set: then nobody searches."""
        self._database = database
        self._answers = answers
        self._sealed_selfies = sealed_selfies
        self._urls = urls
        self._settings = settings

    async def search(self, event: PhotoEvent, selfie: Selfie, wish: SearchWish, seeker: Seeker) -> SearchPage:
        """The best matches of the face on a selfie.

        Raises Problem 409 while faces can't be looked for, 403 without the consent that the event asks for, 422 for a
        picture without a face, 503 where nobody answers in time.
        """
        search_id = new_id()
        refused = refusal(event, wish, seeker, datetime.now(UTC))
        async with self._database.connection() as connection:
            outcome = ASKED if refused is None else refused.code
            searches = FaceSearchRepository(connection)
            await searches.begin(search_id, event.id, seeker, wish.consent_version, outcome)
        if refused is not None:
            metrics.face_searches_total.labels(outcome).inc()
            raise refused
        result = await self._result(search_id, event, selfie, wish)
        async with self._database.connection() as connection, connection.transaction():
            searches = FaceSearchRepository(connection)
            await searches.keep(result, seeker)
            await searches.end(search_id, "answered", len(result.matches))
        metrics.face_searches_total.labels("answered").inc()
        return await self._page(event, result, 0, wish.limit)

    async def search_for_erasure(
        self, event: PhotoEvent, selfie: Selfie, wish: SearchWish, seeker: Seeker
    ) -> SearchPage:
        """All matches, also where nobody may search, and without a consent: who is on a photo may want to be off it.

        It is recorded as any search, and its result is not kept here. Raises as `search` does.
        """
        search_id = new_id()
        async with self._database.connection() as connection:
            searches = FaceSearchRepository(connection)
            await searches.begin(search_id, event.id, seeker, wish.consent_version, ASKED)
        result = await self._result(search_id, event, selfie, wish, for_erasure=True)
        await self._end(search_id, FOR_ERASURE, len(result.matches))
        return await self._page(event, result, 0, MOST_MATCHES)

    async def page(self, search_id: UUID, seeker: Seeker, position: int, limit: int) -> SearchPage:
        """Further matches of a search. Raises as `found` does."""
        event, result = await self._found(search_id, seeker)
        return await self._page(event, result, position, limit)

    async def found(self, search_id: UUID, seeker: Seeker) -> frozenset[UUID]:
        """The photos that a search found. Raises Problem 404 when it is over, 409 while faces can't be looked for."""
        _, result = await self._found(search_id, seeker)
        return frozenset(match.photo_id for match in result.matches)

    async def _found(self, search_id: UUID, seeker: Seeker) -> tuple[PhotoEvent, SearchResult]:
        async with self._database.connection() as connection:
            kept_seconds = self._settings.face_search_results_kept_seconds
            result = await FaceSearchRepository(connection).result(search_id, seeker, kept_seconds)
            event = None if result is None else await PhotoEventRepository(connection).get(result.event_id)
        if result is None or event is None or event.is_deleted:
            raise Problem(404, "not_found", "There is no such search, or it is over: search again.")
        if not event.is_searchable(datetime.now(UTC)):
            raise search_is_off()
        return event, result

    def is_open_to_guests(self, event: PhotoEvent) -> bool:
        """Guests search only where there is a text that they can agree to."""
        return event.is_searchable(datetime.now(UTC)) and event.consent_text is not None

    async def records(self, event_id: UUID, after: UUID | None, limit: int) -> list[SearchRecord]:
        """Who searched an event, newest first."""
        async with self._database.connection() as connection:
            return await FaceSearchRepository(connection).of_event(event_id, after, limit)

    async def run(self) -> None:
        """Sweep selfies that nobody came for; returns only by cancellation."""
        while True:
            try:
                if self._sealed_selfies is not None and (removed := await self._sealed_selfies.sweep(LEFTOVER_SECONDS)):
                    log.warning("removed sealed selfies that nobody came for", extra={"count": removed})
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("could not sweep sealed selfies", extra={"detail": str(error)})
            await asyncio.sleep(SWEEP_EVERY_SECONDS)

    async def _result(
        self, search_id: UUID, event: PhotoEvent, selfie: Selfie, wish: SearchWish, *, for_erasure: bool = False
    ) -> SearchResult:
        """What was found; where nothing could be, the record says why."""
        try:
            return result_of(await self._ask(search_id, event, selfie, wish, for_erasure), search_id, event)
        except Problem as problem:
            await self._end(search_id, problem.code, None)
            raise
        except InfrastructureUnavailable:
            await self._end(search_id, "service_unavailable", None)
            raise

    async def _ask(
        self, search_id: UUID, event: PhotoEvent, selfie: Selfie, wish: SearchWish, for_erasure: bool
    ) -> AnswerV1 | None:
        sealed_selfies = self._sealed_selfies
        if sealed_selfies is None or self._urls.bucket is None:
            detail = "Faces can't be looked for here: MEDIABUS_SELFIE_KEY and the bucket have to be set."
            raise Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS))
        try:
            with storage_refusals():
                sealed = await sealed_selfies.seal(search_id, selfie.picture)
            selfie.forget()
            question = partial(
                SearchFacesV1,
                event_id=event.id,
                selfie=sealed,
                choose=wish.choose,
                threshold=wish.threshold,
                limit=MOST_MATCHES,
                for_erasure=for_erasure,
            )
            return await self._answers.ask(question, self._settings.face_search_seconds, search_id)
        finally:
            selfie.forget()
            # Whoever answered has removed it; it must not outlive a question that nobody took either.
            await sealed_selfies.discard(search_id)

    async def _end(self, search_id: UUID, outcome: str, matches: int | None) -> None:
        metrics.face_searches_total.labels(outcome).inc()
        async with self._database.connection() as connection:
            await FaceSearchRepository(connection).end(search_id, outcome, matches)

    async def _page(self, event: PhotoEvent, result: SearchResult, position: int, limit: int) -> SearchPage:
        rest = result.matches[position:]
        async with self._database.connection() as connection:
            known = await EventPhotoRepository(connection).keys(event.id, [match.photo_id for match in rest])
        shown: list[ShownMatch] = []
        for offset, match in enumerate(rest):
            keys = known.get(match.photo_id)
            if keys is not None and not keys.is_shown:
                continue
            if len(shown) == limit:
                return SearchPage(result, tuple(shown), position + offset)
            shown.append(self._shown(event, match, None if keys is None else keys.image_key))
        return SearchPage(result, tuple(shown), None)

    def _shown(self, event: PhotoEvent, match: FoundMatch, image_key: str | None) -> ShownMatch:
        return ShownMatch(
            photo_id=match.photo_id,
            s3_key=match.s3_key,
            image_url=self._urls.of(event, image_key),
            preview_url=self._urls.of(event, match.s3_key),
            similarity=match.similarity,
            box=match.box,
            confidence=match.confidence,
        )


def refusal(event: PhotoEvent, wish: SearchWish, seeker: Seeker, now: datetime) -> Problem | None:
    """Why this search is not made; None if it is. Guests agree to a text always, accounts where the event has one."""
    if not event.is_searchable(now):
        return search_is_off()
    if event.consent_text is None and seeker.user_id is None:
        return search_is_off()
    return consent_refusal(event, wish)


def consent_refusal(event: PhotoEvent, wish: SearchWish) -> Problem | None:
    """Where the event has a text and this one was not agreed to; None where nothing is asked."""
    if event.consent_text is None or wish.consent_version == event.consent_version:
        return None
    detail = (
        "Have the person read consent_text, and send consent_version once they agree to it."
        if wish.consent_version is None
        else "The text has changed: have the person read it anew, and send its consent_version once they agree."
    )
    members = {"consent_text": event.consent_text, "consent_version": event.consent_version}
    return Problem(403, "consent_needed", detail, members=members)


def result_of(answer: AnswerV1 | None, search_id: UUID, event: PhotoEvent) -> SearchResult:
    """What was found, or the Problem that the caller reads."""
    if answer is None:
        raise _unanswered("face-embedder did not answer in time. Nothing was kept; try again shortly.")
    if answer.body is None:
        raise _problem(*(answer.problem or "").partition(": ")[::2])
    try:
        found = _read(answer.body, search_id, event.id)
    except (KeyError, TypeError, ValueError) as error:
        log.error("an answer to a search can't be read", extra={"detail": repr(error)})
        raise _unanswered("The answer of face-embedder can't be read. Try again shortly.") from error
    # What lies outside the event's folder is none of its photos, whoever says so.
    return replace(found, matches=tuple(match for match in found.matches if match.s3_key.startswith(event.folder)))


def _read(body: dict[str, Any], search_id: UUID, event_id: UUID) -> SearchResult:
    return SearchResult(
        search_id=search_id,
        event_id=event_id,
        faces_in_selfie=int(body["faces_in_selfie"]),
        chosen=int(body["chosen"]),
        pack=str(body["pack"]),
        threshold=float(body["threshold"]),
        matches=found_matches(body["matches"]),
    )


def _problem(code: str, detail: str) -> Problem:
    if code == "no_face_in_selfie":
        help_text = "No face was found. Send a picture on which the face is large, well lit and seen from the front."
        return Problem(422, "no_face", help_text, errors=[FieldError("file", "shows no face")])
    if code == "not_a_picture":
        return InvalidFields(FieldError("file", detail or "can't be read as a picture: send another one"))
    if code == "no_such_face":
        return InvalidFields(FieldError("choose", detail or "names a face that is not on the picture"))
    if code == "event_not_searchable":
        return search_is_off()
    if code == "unknown_event":
        # It is known here, so face-embedder will have heard of it in a moment.
        return _unanswered("The event is too new to be searched. Try again shortly.")
    return _unanswered(f"{(detail or code or 'face-embedder could not answer').rstrip('.')}.")


def search_is_off() -> Problem:
    return Problem(409, "search_off", "The search for faces is switched off for this event, or its time is over.")


def _unanswered(detail: str) -> Problem:
    return Problem(503, "service_unavailable", detail, retry_after(RETRY_AFTER_SECONDS))
