"""One module a peer; each trains and scores it the way its own users do."""
