"""Every event and command of the system, one module per producer."""
