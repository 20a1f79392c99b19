"""Compares bucket, local disk and records; plans, carries out and undoes repairs."""
