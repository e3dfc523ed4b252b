"""What every capability runs on: devices, inference, weights and their checksums."""

# Here, so that commands and parameters can name them without loading torch.
DEFAULT_BACKBONE = "tf_efficientnet_lite0"
ENGINES = ("auto", "torch", "compile", "openvino", "onnxruntime", "tensorrt")
