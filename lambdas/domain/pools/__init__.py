"""What a pool is: what its owner set, what holds of it at which hour, and what its machines are made of."""
