"""The local AWS: Lowtide's own stack, deployed by the real CDK CLI into one process on this machine's loopback."""
