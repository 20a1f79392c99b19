"""The only readers and writers of this service's tables."""
