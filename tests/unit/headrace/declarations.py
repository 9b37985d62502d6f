"""Good declarations, for tests to use and to spoil."""

SENTIMENT = f"""\
api: headrace/v1
name: sentiment
task: text-classification
description: Three-class sentiment of short English text.
default: true
labels: [negative, neutral, positive]
versions:
  v1: {{artifact: "sha256:{"a" * 64}", weight: 1}}
  lite: {{artifact: "sha256:{"b" * 64}", hosting: function}}
hardware: {{accelerator: gpu, instance_types: [ml.g5.xlarge]}}
capacity: {{mode: always_on, min_instances: 1, max_instances: 4, concurrent_requests_per_instance: 8}}
batching: {{max_size: 8, max_delay_ms: 0, queue_max: 128}}
deadline: {{default_ms: 2000, max_ms: 10000}}
slo: {{latency_p99_ms: 500, availability: 0.999}}
limits: {{max_items: 4, max_text_chars: 50}}
fallback:
  - {{kind: cpu, version: lite, timeout_ms: 800}}
  - {{kind: rules}}
"""

DETECTION = f"""\
api: headrace/v1
name: detection
task: object-detection
description: Everyday objects in photographs.
default: true
versions:
  v1: {{artifact: "sha256:{"c" * 64}", weight: 90}}
  v2: {{artifact: "sha256:{"d" * 64}", weight: 10}}
  lite: {{artifact: "sha256:{"e" * 64}", hosting: function}}
hardware: {{accelerator: gpu, instance_types: [ml.g5.xlarge]}}
capacity: {{mode: always_on, min_instances: 1, max_instances: 2, concurrent_requests_per_instance: 4}}
deadline: {{default_ms: 4000, max_ms: 20000}}
slo: {{latency_p99_ms: 1500, availability: 0.995}}
limits: {{max_items: 1, max_image_bytes: 1000000, max_pixels: 40000000}}
fallback:
  - {{kind: cpu, version: lite, timeout_ms: 1500}}
"""

PLANS = """\
api: headrace/v1
plans:
  free:
    tier: 0
    concurrency: 2
    rate: {per_second: 1, burst: 5}
    budgets: [{unit: gpu_ms, amount: 1000, per: hour}]
  standard: {tier: 5, concurrency: 64, rate: {per_second: 200, burst: 400}}
  premium: {tier: 9, concurrency: 512, rate: {per_second: 2000, burst: 4000}}
"""
