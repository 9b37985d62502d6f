"""The numbers that hold batches in: sizes, times, and how much is done at once; infrastructure is fed from here too."""

from __future__ import annotations

INPUT_BYTES_MAX = 5 * (1 << 30)
"""What one POST to S3 can carry (S3 user guide, "Uploading objects"): 5 GiB; decompressed text has the same bound."""
MULTIPART_BYTES_MAX = 4_194_304
"""A file that comes through the gateway itself (`headrace.limits.PAYLOAD_MAX_BYTES`); larger ones go straight to S3."""
INFLATE_RATIO_MAX = 200
"""Text compresses 3 to 20 times; past `INFLATE_FREE_BYTES` more than this is a bomb."""
INFLATE_FREE_BYTES = 16 << 20
RECORD_BYTES_MAX = 4_194_304
"""One record, as one request through the gateway."""
RECORDS_MAX = 10_000_000
MANIFEST_BYTES_MAX = 16 << 20
MANIFEST_OBJECTS_MAX = 100_000
COLUMNS_MAX = 1_000
CUSTOM_ID_MAX_CHARS = 256
METADATA_MAX = 16
"""Pairs of metadata, as OpenAI has it: names to 64, values to 512 characters."""
METADATA_NAME_MAX_CHARS, METADATA_VALUE_MAX_CHARS = 64, 512

SHARD_BYTES_MIN = 2 << 20
SHARD_RECORDS_MAX = 20_000
SHARDS_MAX = 2_000
"""Shards grow with the file beyond this number; each is one child execution."""
SHARDS_AT_ONCE = 8
"""Shards of one batch that are scored at the same time; each asks the endpoint as often as its pace allows."""
PART_BYTES_MAX = 4 << 20
PART_SECONDS_FIRST, PART_SECONDS_MAX = 4.0, 60.0
"""A part is written when it holds this much, or after this long: what a crash can cost. The first ones of a run come
sooner, each after twice the time of the one before: whoever watches a small batch sees that it moves."""
RECORD_ATTEMPTS_MAX = 6
"""How often one record is asked for before its failure is its answer."""

PLAN_TIMEOUT_S = SCORE_TIMEOUT_S = FINISH_TIMEOUT_S = 900
"""Lambda's own most."""
START_TIMEOUT_S = 60
NOTIFY_TIMEOUT_S = 60
SCORE_MARGIN_S = 30.0
"""Before its time is up a scorer writes what it has and says that there is more."""
WAIT_MIN_S, WAIT_MAX_S = 30, 300
"""How long a paused shard waits without a function. Each pause is a turn of its execution, whose history ends after
25,000 events (Step Functions developer guide, "Quotas"): a day of the shortest pauses must fit."""
EXECUTION_TIMEOUT_S = 86_400 + 3_600
"""A batch's day, and an hour to end it."""

TRANSFORM_RECORDS_MIN = 1_000_000
"""From here on instances of its own are worth their start (minutes), unless the endpoint declares another number."""
TRANSFORM_RECORDS_MAX = 4_000_000
"""The planner writes every request of a transform job: 70 µs for each record, of the 900 s that it has."""

BATCHES_AT_ONCE_MAX = 20
"""Batches of one tenant that are not over: each takes executions and a place in what the endpoint has to spare."""
DROPS_AT_ONCE_MAX = 100
"""The same for files that are put under a tenant's incoming prefix, which come in crowds and cannot be told to wait."""
