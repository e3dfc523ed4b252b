"""Depth networks of three nodes as ONNX files, each with its card."""

from __future__ import annotations


def write_network(folder, card, channels=1, size=("H", "W"), inputs=1):
    """A network that gives its image times 2, plus 1: of each channel, or of the first."""
    import onnx
    from onnx import TensorProto, helper

    names = [f"image{n}" if n else "image" for n in range(inputs)]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *size]) for name in names]
    gives = [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)]
    numbers, whole = TensorProto.FLOAT, TensorProto.INT64
    constants = [
        helper.make_tensor("two", numbers, [], [2.0]), helper.make_tensor("one", numbers, [], [1.0]),
        helper.make_tensor("starts", whole, [1], [0]), helper.make_tensor("axes", whole, [1], [1]),
        helper.make_tensor("ends", whole, [1], [channels]),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["some"]),
        helper.make_node("Mul", ["some", "two"], ["twice"]),
        helper.make_node("Add", ["twice", "one"], ["map"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", given, gives, constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    (folder / "tiny.yaml").write_text(card)
    return path
