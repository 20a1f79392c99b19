"""Every way the face engine can fail, each with a stable code and a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

from shared.messaging.errors import PermanentError


class EngineError(Exception):
    """The engine cannot be opened as it is set; the process should not start with it.

    `code` is a stable snake_case name, `detail` the sentence for the operator.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def too_many_pixels(width_px: int, height_px: int, limit_px: int) -> PermanentError:
    return PermanentError(
        "image_too_many_pixels",
        f"This picture has {width_px} x {height_px} pixels; at most {limit_px / 1e6:g} megapixels are accepted. "
        "Upload a smaller version.",
    )


def unknown_pack(name: str, known: list[str]) -> EngineError:
    return EngineError("face_pack_unknown", f"There is no face pack {name!r}; set one of {', '.join(known)}.")


def licence_not_accepted(name: str) -> EngineError:
    return EngineError(
        "face_licence_not_accepted",
        f"The weights of the face pack {name} are licensed for non-commercial research only, and nobody has accepted "
        "that here. Set MEDIABUS_FACE_ACCEPT_NONCOMMERCIAL_MODELS=true if your use is of that kind, name a folder with "
        "weights you have a licence for with MEDIABUS_FACE_PACK_FOLDER, or set MEDIABUS_FACE_PACK=lite.",
    )


def models_folder_not_set(name: str) -> EngineError:
    return EngineError(
        "face_models_folder_missing",
        f"Nothing says where the files of the face pack {name} lie: set MEDIABUS_FACE_MODELS_FOLDER, the folder that "
        "`make setup` fills, or MEDIABUS_FACE_PACK_FOLDER, a folder of your own.",
    )


def model_missing(path: Path) -> EngineError:
    return EngineError(
        "face_model_missing",
        f"{path} is not there or cannot be read. Run `make setup`, which fetches the pack lite, or put the file there.",
    )


def model_not_the_known_one(path: Path, found: str, expected: str) -> EngineError:
    return EngineError(
        "face_model_not_known",
        f"{path} is not the file we know: its sha256 is {found}, expected {expected}. Remove it and run `make setup` "
        "to have it fetched again, or name a folder of your own with MEDIABUS_FACE_PACK_FOLDER.",
    )


def model_unusable(path: Path, reason: str) -> EngineError:
    return EngineError(
        "face_model_unusable",
        f"{path} cannot be used as this part of a face pack ({reason}). Put a file of the right kind there.",
    )


def download_failed(name: str, reason: str) -> EngineError:
    return EngineError(
        "face_download_failed",
        f"InsightFace could not fetch the face pack {name} ({reason}). Connect this machine to the internet, or put "
        "the files into a folder and name it with MEDIABUS_FACE_PACK_FOLDER.",
    )


def provider_unavailable(wanted: str, available: list[str]) -> EngineError:
    return EngineError(
        "face_provider_unavailable",
        f"ONNX Runtime cannot run on {wanted!r} here; it has {', '.join(available)}. Set MEDIABUS_FACE_PROVIDER to one "
        "of these, or install the ONNX Runtime package and the drivers that the wanted one needs.",
    )
