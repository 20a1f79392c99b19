"""What calls about photographed events need, as one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ingest_api.answers import Answers
from ingest_api.erasure_receipt import ReceiptSigner
from ingest_api.event_people import EventPeople
from ingest_api.event_photos import EventPhotos
from ingest_api.event_removals import EventRemovals
from ingest_api.face_erasures import FaceErasures
from ingest_api.face_search import FaceSearch
from ingest_api.face_syncs import FaceSyncs
from ingest_api.galleries import Galleries
from ingest_api.gallery import GalleryPasses
from ingest_api.intake import Intake
from ingest_api.notifications import NewsHub
from ingest_api.photo_events import PhotoEvents
from ingest_api.photo_uploads import PhotoUploads
from ingest_api.photo_urls import PhotoUrls
from ingest_api.selfie_form import Selfies
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn
from shared.db.unit_of_work import UnitOfWork
from shared.settings_feed import SettingsFeed
from shared.storage.sealed import SealedSelfies
from shared.storage.stores import Stores


@dataclass(frozen=True, slots=True)
class PhotoDesk:
    events: PhotoEvents
    syncs: FaceSyncs
    selfies: Selfies
    search: FaceSearch
    erasures: FaceErasures
    photos: EventPhotos
    uploads: PhotoUploads
    removals: EventRemovals
    people: EventPeople
    urls: PhotoUrls
    galleries: Galleries

    @classmethod
    def of(
        cls,
        unit_of_work: UnitOfWork,
        feed: SettingsFeed,
        settings: IngestSettings,
        stores: Stores,
        answers: Answers,
        sign_in: SignIn,
        hub: NewsHub,
        intake: Intake,
    ) -> Self:
        urls = PhotoUrls(stores.bucket, settings.photo_url_seconds)
        # Where uploads are staged: face-embedder reads there too.
        staged_in = stores.bucket if settings.staging_store == "bucket" and stores.bucket else stores.disk
        key = settings.selfie_key_bytes
        sealed_selfies = None if key is None else SealedSelfies(staged_in, key)
        search = FaceSearch(unit_of_work.database, answers, sealed_selfies, urls, settings)
        events = PhotoEvents(unit_of_work)
        return cls(
            events,
            FaceSyncs(unit_of_work, feed, silence_seconds=settings.face_sync_silence_seconds),
            Selfies(settings, feed),
            search,
            FaceErasures(
                unit_of_work,
                search,
                ReceiptSigner(settings.signing_key_bytes),
                settings,
            ),
            EventPhotos(unit_of_work, stores.bucket),
            PhotoUploads(unit_of_work, stores.staging, stores.bucket, intake),
            EventRemovals(unit_of_work, stores.bucket),
            EventPeople(
                unit_of_work,
                events,
                hub,
                wait_seconds=settings.people_change_wait_seconds,
                waiting=settings.waiting_answers,
            ),
            urls,
            Galleries(
                unit_of_work.database,
                sign_in,
                GalleryPasses(settings.signing_key_bytes, settings.gallery_pass_seconds),
                settings,
            ),
        )
