"""The container's program: one verified model behind SageMaker's two routes and the Open Inference Protocol.

A request goes: `protocol` (bytes to HTTP) → `app` (route) → `tensors` (strict decoding) → `batcher` (who runs with
whom, and when) → `runner` (model.py and ONNX Runtime) → `answers` (encoding) → `protocol` again. `__main__` wires it.
"""
