"""Signatures of requests to S3 (AWS Signature Version 4), without I/O."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"


class Signer:
    """Signs with one pair of keys for one region; the key of the day is derived once."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._day = ""
        self._key_of_day = b""

    def signed(
        self, method: str, host: str, path: str, headers: Mapping[str, str], sha256: str, at: datetime, query: str = ""
    ) -> dict[str, str]:
        """The headers to send with a request; all that are given are signed.

        `headers` have lower-case names, `path` is encoded as it is sent, `sha256` is the body's in hex, `at` is in UTC,
        `query` is made by `encoded_query`.
        """
        time = at.strftime("%Y%m%dT%H%M%SZ")
        day = time[:8]
        sent = {**headers, "host": host, "x-amz-content-sha256": sha256, "x-amz-date": time}
        names = sorted(sent)
        listed = ";".join(names)
        lines = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{sha256}"
        scope = f"{day}/{self._region}/s3/{_TERMINATOR}"
        signature = self._signature(time, scope, request)
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={self._access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return sent

    def signed_query(
        self,
        method: str,
        host: str,
        path: str,
        headers: Mapping[str, str],
        expires_in_seconds: int,
        at: datetime,
        wishes: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """The query with which anyone may send such a request until it expires: exactly these headers, and any body.

        `wishes` are further parameters of the query; the others are as those of `signed`.
        """
        time = at.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{time[:8]}/{self._region}/s3/{_TERMINATOR}"
        sent = {**headers, "host": host}
        names = sorted(sent)
        listed = ";".join(names)
        query = encoded_query(
            {
                "X-Amz-Algorithm": _ALGORITHM,
                "X-Amz-Credential": f"{self._access_key}/{scope}",
                "X-Amz-Date": time,
                "X-Amz-Expires": str(expires_in_seconds),
                "X-Amz-SignedHeaders": listed,
                **wishes,
            }
        )
        lines = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\nUNSIGNED-PAYLOAD"
        return f"{query}&X-Amz-Signature={self._signature(time, scope, request)}"

    def _signature(self, time: str, scope: str, request: str) -> str:
        text = f"{_ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return hmac.digest(self._key_of(time[:8]), text.encode(), "sha256").hex()

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._secret_key}".encode()
            for part in (day, self._region, "s3", _TERMINATOR):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key_of_day = day, key
        return self._key_of_day


def encoded_query(parameters: Mapping[str, str]) -> str:
    """Parameters in the one order and encoding that signatures know."""
    return "&".join(f"{quote(name, safe='~')}={quote(parameters[name], safe='~')}" for name in sorted(parameters))
