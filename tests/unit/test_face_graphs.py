"""What is done to the graphs of the pack lite changes no result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from face_embedder.engine.execution import Execution, load
from face_embedder.engine.faces import Floats
from face_embedder.engine.lite_graphs import any_batch, without_prelu


def prelu_alone(slopes: Floats) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slopes"], ["y"])],
        "prelu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])],
        [numpy_helper.from_array(slopes, "slopes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
    return bytes(model.SerializeToString())


def results(content: bytes, batch: Floats) -> Floats:
    return load(content, Path("model.onnx"), Execution()).run(batch)[0]


def operations(content: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_model_from_string(content).graph.node}


def test_prelu_taken_apart_gives_the_same_numbers() -> None:
    slopes = np.array([-1.3, 0.0, 1.7], dtype=np.float32).reshape(3, 1, 1)
    batch = np.random.default_rng(1).standard_normal((1, 3, 4, 4)).astype(np.float32)
    as_it_comes = prelu_alone(slopes)
    assert operations(without_prelu(as_it_comes)) == {"Relu", "Conv", "Add"}
    np.testing.assert_array_equal(results(without_prelu(as_it_comes), batch), results(as_it_comes, batch))


def test_prelu_with_other_slopes_stays() -> None:
    as_it_comes = prelu_alone(np.full((1, 4, 4), 0.25, dtype=np.float32))
    assert operations(without_prelu(as_it_comes)) == {"PRelu"}


def test_embeddings_are_the_same_to_the_last_bit(face_models: Path) -> None:
    as_it_comes = any_batch((face_models / "lite" / "fr_feature.onnx").read_bytes())
    faster = without_prelu(as_it_comes)
    assert "PRelu" in operations(as_it_comes)
    assert "PRelu" not in operations(faster)
    batch = np.random.default_rng(2).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    np.testing.assert_array_equal(results(faster, batch), results(as_it_comes, batch))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no ONNX model"):
        without_prelu(b"something else")
