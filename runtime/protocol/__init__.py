"""The Open Inference Protocol, version 2, as data: tensors of requests and answers."""
