"""From a trained network to three ONNX files, and the proof that they compute the same."""
