"""What a job is: what was asked for, what its message may say, what it takes, and what became of its attempts."""
