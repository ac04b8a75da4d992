"""The light half: ONNX Runtime, numpy and nothing of torch. It loads, scores and serves what training exported."""
