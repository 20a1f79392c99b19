"""How models are run: on which provider of ONNX Runtime, with how many threads."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from face_embedder import errors
from face_embedder.engine.faces import Floats

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Execution:
    """A provider by its name in ONNX Runtime, with or without "ExecutionProvider", in any case; threads of one run.

    One thread a run and as many runs at once as there are cores gets most photos done; more threads a run make a
    single photo faster.
    """

    provider: str = "CPU"
    threads_per_run: int = 1

    @property
    def is_on_cpu(self) -> bool:
        """Raises EngineError where ONNX Runtime does not have the provider here."""
        return chosen_provider(self.provider) == CPU


class Model:
    """A model that is loaded; `run` may be called by several threads at once."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._inputs = [tensor.name for tensor in session.get_inputs()]
        self.outputs = [tensor.name for tensor in session.get_outputs()]

    def run(self, batch: Floats) -> list[Floats]:
        """The outputs for a batch of inputs, in the order of the model's file."""
        return cast(list[Floats], self.session.run(None, {self._inputs[0]: np.ascontiguousarray(batch)}))


def runtime() -> ModuleType:
    """ONNX Runtime, loaded when it is first needed: it takes a second, and not every process infers."""
    module = importlib.import_module("onnxruntime")
    # Its warnings are about graphs that we did not make; errors are raised.
    module.set_default_logger_severity(3)
    return module


def chosen_provider(wanted: str) -> str:
    """The provider's full name. Raises EngineError where ONNX Runtime does not have it here."""
    available = runtime().get_available_providers()
    for name in available:
        if wanted.casefold() in (name.casefold(), name.removesuffix("ExecutionProvider").casefold()):
            return str(name)
    raise errors.provider_unavailable(wanted, available)


def load(content: bytes, path: Path, execution: Execution) -> Model:
    """Load a model from its bytes; `path` names it in errors.

    Raises EngineError where it is no model, or where the provider is there by name only: ONNX Runtime would go on
    slowly on the CPU without saying so.
    """
    onnxruntime = runtime()
    provider = chosen_provider(execution.provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = execution.threads_per_run
    options.inter_op_num_threads = 1
    # Pictures come in many sizes: memory planned for one size is of no use for the next, and is never given back.
    options.enable_mem_pattern = False
    if provider == CUDA:
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=_with_fallback(provider))
    except Exception as error:  # the runtime raises plain exceptions of its own for everything
        raise errors.model_unusable(path, str(error).splitlines()[0][:200]) from error
    if session.get_providers()[0] != provider:
        raise errors.provider_unavailable(provider, session.get_providers())
    return Model(session)


def _with_fallback(provider: str) -> list[str | tuple[str, dict[str, str]]]:
    """The CPU takes the operations that the provider does not have."""
    if provider == CPU:
        return [CPU]
    # The exhaustive search, its default, is done again for every new size of a picture.
    options = {"cudnn_conv_algo_search": "HEURISTIC"} if provider == CUDA else {}
    return [(provider, options), CPU]
