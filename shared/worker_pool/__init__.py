"""Bounded pools of processes for what a service must not do itself, such as decoding strangers' bytes."""

from shared.worker_pool.pool import WorkerFailures, WorkerPool, WorkerPoolSettings, WorkerProgram
from shared.worker_pool.turns import Urgency

__all__ = ["Urgency", "WorkerFailures", "WorkerPool", "WorkerPoolSettings", "WorkerProgram"]
