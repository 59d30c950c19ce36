"""Every Prometheus metric, in one place."""

import functools
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


@functools.lru_cache(maxsize=4096)
def child(metric: Metric, *labels: str) -> Metric:
    """`metric.labels(*labels)`, remembered: the look-up by itself was a tenth of what a job costs."""
    return metric.labels(*labels)


_LATENCY = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_JOB = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 300.0, 600.0)
_LAG = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
_STEP = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_CALL = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)

# Gateway
requests = Counter("velesio_requests_total", "HTTP requests by route and status.", ["route", "code"])
tenant_requests = Counter("velesio_tenant_requests_total", "HTTP requests by tenant, where that is wanted.", ["tenant"])
request_seconds = Histogram("velesio_request_seconds", "HTTP request duration.", ["route"], buckets=_JOB)
rejected = Counter("velesio_rejected_total", "Requests refused before a job was queued.", ["reason"])
cancelled = Counter("velesio_cancelled_total", "Jobs cancelled, by where they were.", ["stage"])
time_to_first_token = Histogram(
    "velesio_time_to_first_token_seconds",
    "From the request's arrival to its first text.",
    ["model"],
    buckets=_LATENCY,
)
inter_token = Histogram("velesio_inter_token_seconds", "Between two deltas of one answer.", ["model"], buckets=_BETWEEN)
webhooks = Counter(
    "velesio_webhooks_total", "Tries to tell a webhook of a job's end, by what became of it.", ["outcome"]
)
loop_lag = Histogram("velesio_loop_lag_seconds", "How late the event loop wakes up.", buckets=_LAG)

# Queue
queue_seconds = Histogram("velesio_queue_seconds", "From enqueue to lease.", ["model"], buckets=_LATENCY)
broker_call_seconds = Histogram("velesio_broker_call_seconds", "One call of the broker.", ["op"], buckets=_CALL)
broker_errors = Counter("velesio_broker_errors_total", "Calls of the broker that failed.", ["op"])

# Worker
jobs = Counter("velesio_jobs_total", "Jobs settled by this process.", ["model", "outcome"])
job_seconds = Histogram("velesio_job_seconds", "From lease to settlement.", ["model", "outcome"], buckets=_JOB)
reclaims = Counter("velesio_reclaims_total", "Jobs taken over from a lost worker.")
retries = Counter("velesio_retries_total", "Jobs given back for another attempt.", ["reason"])
dead = Counter("velesio_dead_total", "Jobs that ended as dead letters.")
worker_slots = Gauge("velesio_worker_slots", "Jobs that this worker can hold at once.", ["model"])
worker_jobs = Gauge("velesio_worker_jobs", "Jobs that this worker holds.", ["model"])
model_loaded = Gauge("velesio_model_loaded", "1 while the model is loaded in this process.", ["model"])
model_load_seconds = Histogram(
    "velesio_model_load_seconds",
    "Loading a model.",
    ["model"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300),
)
engine_sequences = Gauge("velesio_engine_sequences", "Jobs that the engine computes at this moment.", ["model"])
engine_steps = Counter("velesio_engine_steps_total", "Steps that the engine has computed.", ["model"])
step_seconds = Histogram("velesio_step_seconds", "One step of the engine.", ["model"], buckets=_STEP)

# Text engine
prompt_tokens = Counter(
    "velesio_prompt_tokens_total", "Prompt tokens of settled jobs, cached ones included.", ["model"]
)
prefill_seconds = Histogram(
    "velesio_prefill_seconds", "Computing a job's prompt, as far as it was not cached.", ["model"], buckets=_LATENCY
)
decode_seconds = Histogram("velesio_decode_seconds", "From a job's first token to its last.", ["model"], buckets=_JOB)
generated_tokens = Counter("velesio_generated_tokens_total", "Tokens generated.", ["model"])
kv_usage = Gauge("velesio_kv_usage_ratio", "Part of the KV cache that is in use, kept prefixes included.", ["model"])
cells_running = Gauge("velesio_engine_cells_running", "Cells that running sequences hold.", ["model"])
kv_kept = Gauge("velesio_kv_kept_sequences", "Ended sequences whose cells are kept for reuse.", ["model"])
drafted_tokens = Counter(
    "velesio_drafted_tokens_total", "Tokens guessed ahead, by whether they were right.", ["model", "right"]
)
cached_tokens = Counter("velesio_cached_tokens_total", "Prompt tokens that were in the prefix cache.", ["model"])

# Image engine
images = Counter("velesio_images_total", "Pictures of settled jobs.", ["model"])
image_steps = Counter("velesio_image_steps_total", "Denoising steps, of each picture by itself.", ["model"])
