"""The HTTP service: admission, the queue that forms batches, worker processes, metrics, the web page."""
