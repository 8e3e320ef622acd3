"""The processes of a comparison: each contestant is trained the way its own users do."""
