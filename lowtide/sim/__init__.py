"""The control plane's surroundings in memory, under a virtual clock: what tests and the simulator stand it on."""
