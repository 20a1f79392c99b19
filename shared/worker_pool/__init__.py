"""Bounded pools of processes for what a service must not do itself, such as decoding strangers' bytes."""

from shared.worker_pool.pool import WorkerFailures, WorkerPool, WorkerPoolSettings, WorkerProgram

__all__ = ["WorkerFailures", "WorkerPool", "WorkerPoolSettings", "WorkerProgram"]
