"""How much an inspected file may be, take and use."""

MODEL_BYTES_MAX = 512 << 20
"""The file and its external data together. Larger ones are built by a ``build.py``, whose sources are pinned."""
NODES_MAX = 1_000_000
GRAPH_DEPTH_MAX = 24
"""Protobuf itself gives up at 100 messages, of which a graph within a graph takes three."""
PORTS_MAX = 256
RANK_MAX = 8
"""Of a declared tensor."""
NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}"
"""Of a declared tensor."""
READ_TIMEOUT_S = 60.0
TRIAL_TIMEOUT_S = 120.0
TRIAL_CPU_S = 240
"""Of all cores together."""
MEMORY_BASE_BYTES = 6 << 30
"""Address space, which Python, numpy and ONNX Runtime take much of without using it."""
MEMORY_PER_MODEL_BYTE = 6
FILE_WRITTEN_BYTES_MAX = 1 << 20
EXAMPLE_BYTES_MAX = 6 << 20
"""What an endpoint takes in one request."""
REPORT_BYTES_MAX = 4 * EXAMPLE_BYTES_MAX
"""What a child process says: an example is the most of it."""
REQUEST_BYTES_MAX = 64 << 20
"""The tensors of a made-up request; no endpoint takes so many."""
ANSWER_ELEMENTS_MAX = 256
"""Of an output whose values become part of a golden request."""
FREE_SIZES = (4, 1, 2, 8, 16, 32, 64, 128, 224, 256, 512, 576, 1024, 4096)
"""Tried in turn for sizes that the model leaves open but does not take all of; 4 is the serving program's own."""
