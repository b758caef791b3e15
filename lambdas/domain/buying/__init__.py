"""What a pool may buy now, in which requests, who may ask when, and what it costs."""
