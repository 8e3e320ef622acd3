"""What each word of a review contributed to its logit."""
