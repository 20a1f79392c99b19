"""The public HTTP and WebSocket surface."""
