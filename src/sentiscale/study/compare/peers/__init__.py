"""Training functions of the contestants. Each contestant is trained the way its users normally train it."""
