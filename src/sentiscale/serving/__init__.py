"""The HTTP service: request checks, batching queue, worker processes, metrics and web page."""
