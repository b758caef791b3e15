"""The file that `lowtide pools init` writes: valid as it stands, every line explained."""

TEMPLATE = """\
# Lowtide pools. Check with `lowtide pools validate FILE`, then `lowtide pools apply FILE`.
# Every key is described in docs/pools.md; prices are US dollars per instance-hour, durations look like 90s, 20m, 1h30m.
resource_pools:

  # CPU jobs on whatever is cheapest and has capacity: several types, every zone of the stack.
  - pool_name: cpu
    description: CPU jobs on spot instances
    provider:
      type: aws
      spot: true
      instance_types: [c7i.large, m7i.large, m6i.large]
      # No spot_max_price: the on-demand price is the limit, as on EC2.
      min_instances: 0
      max_instances: 5
      # An instance without jobs for this long is given back.
      max_idle_agent_period: 5m

  # GPU jobs: one slot per GPU. Waits while the market is above the limit.
  - pool_name: gpu
    description: Training jobs on spot GPUs
    provider:
      type: aws
      spot: true
      spot_max_price: "0.40"
      instance_type: g4dn.xlarge
      max_instances: 2
      max_idle_agent_period: 10m
"""
