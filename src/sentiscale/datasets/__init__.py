"""Review data to try things on: a generator, and the public Amazon collection. Reading files is `data`."""
