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


def write_points_network(folder, card, points, mask=None, scale=None, tokens=False, size_px=(64, 48)):
    """A network that gives the same points (1, H, W, 3), mask (1, H, W) and scale (1,) for every image, and takes a
    whole number `num_tokens` that it adds to no effect, as exports of MoGe-2 do."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size_px[1], size_px[0]])]
    constants = [numpy_helper.from_array(np.array(0.0, np.float32), "zero")]
    nodes = [helper.make_node("ReduceMean", ["image"], ["grey"], keepdims=0)]
    nothing = "grey"
    if tokens:
        given.append(helper.make_tensor_value_info("num_tokens", TensorProto.INT64, []))
        nodes += [helper.make_node("Cast", ["num_tokens"], ["tokens"], to=TensorProto.FLOAT),
                  helper.make_node("Mul", ["grey", "tokens"], ["both"])]  # fmt: skip
        nothing = "both"
    nodes.append(helper.make_node("Mul", [nothing, "zero"], ["nothing"]))
    gives = []
    for output, values in (("points", points), ("mask", mask), ("metric_scale", scale)):
        if values is not None:
            constants.append(numpy_helper.from_array(np.asarray(values, np.float32), f"{output}_values"))
            nodes.append(helper.make_node("Add", [f"{output}_values", "nothing"], [output]))
            gives.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", given, gives, constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    (folder / "tiny.yaml").write_text(card)
    return path
