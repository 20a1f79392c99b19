"""A face pack with the names, inputs and outputs of buffalo_l and no weights worth the name.

Its detector takes every bright square of 32 x 32 input pixels for a face, its recognition is a projection of the
picture. It shows that the pack is used as it should be, and nothing of how well it recognises.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Constant = NDArray[np.float32] | NDArray[np.int64]

_STRIDES = (8, 16, 32)
_ANCHORS = 2
_HALF_FACE = 0.6  # of a stride, from the middle to each side
_FIVE_POINTS = (-0.3, -0.3, 0.3, -0.3, 0.0, 0.0, -0.25, 0.3, 0.25, 0.3)


def write_tiny_pack(folder: Path, seed: int = 0) -> Path:
    """Write det_10g.onnx and w600k_r50.onnx; another seed gives other weights of the recognition."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "det_10g.onnx").write_bytes(_detector())
    (folder / "w600k_r50.onnx").write_bytes(_recognition(seed))
    return folder


def _detector() -> bytes:
    constants: dict[str, Constant] = {
        "grey": np.full((1, 3, 1, 1), 1 / 3, dtype=np.float32),
        "rows": np.array([-1, 1], dtype=np.int64),
        "none": np.zeros(1, dtype=np.float32),
        "all": np.ones(1, dtype=np.float32),
        "twice": np.array([1, _ANCHORS], dtype=np.int64),
    }
    nodes = [helper.make_node("Conv", ["input.1", "grey"], ["shade"])]
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in _STRIDES:
        constants[f"box{stride}"] = np.full((1, 4), _HALF_FACE, dtype=np.float32)
        constants[f"points{stride}"] = np.array([_FIVE_POINTS], dtype=np.float32)
        constants[f"certain{stride}"] = np.array([1.0 if stride == 32 else 0.0], dtype=np.float32)
        nodes += [
            helper.make_node(
                "AveragePool", ["shade"], [f"pool{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Reshape", [f"pool{stride}", "rows"], [f"cells{stride}"]),
            helper.make_node("Tile", [f"cells{stride}", "twice"], [f"anchors{stride}"]),
            helper.make_node("Reshape", [f"anchors{stride}", "rows"], [f"bright{stride}"]),
            helper.make_node("Clip", [f"bright{stride}", "none_", "all_"], [f"clipped{stride}"]),
            helper.make_node("Mul", [f"clipped{stride}", f"certain{stride}"], [f"score_{stride}"]),
            helper.make_node("Mul", [f"score_{stride}", "none"], [f"zero{stride}"]),
            helper.make_node("Add", [f"zero{stride}", f"box{stride}"], [f"box_{stride}"]),
            helper.make_node("Add", [f"zero{stride}", f"points{stride}"], [f"points_{stride}"]),
        ]
        for name in outputs:
            outputs[name].append(f"{name}_{stride}")
    constants |= {"none_": np.array(0.0, dtype=np.float32), "all_": np.array(1.0, dtype=np.float32)}
    lengths = {"score": 1, "box": 4, "points": 10}
    return _model(
        nodes,
        helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "height", "width"]),
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, lengths[kind]])
            for kind, names in outputs.items()
            for name in names
        ],
        constants,
    )


def _recognition(seed: int) -> bytes:
    chance = np.random.default_rng(seed)
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["683"]),
    ]
    return _model(
        nodes,
        helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["batch", 3, 112, 112]),
        [helper.make_tensor_value_info("683", TensorProto.FLOAT, ["batch", 512])],
        {"weights": chance.normal(size=(192, 512)).astype(np.float32)},
    )


def _model(
    nodes: list[onnx.NodeProto],
    taken: onnx.ValueInfoProto,
    given: list[onnx.ValueInfoProto],
    constants: dict[str, Constant],
) -> bytes:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [taken], given, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
