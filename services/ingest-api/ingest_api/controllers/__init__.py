"""HTTP and WebSocket in: each controller reads a request, calls one thing, and words the answer."""
