"""Labels of Ray nodes that say what a machine is, and so what it costs."""

MARKET_LABEL = "ray.io/market-type"
ACCELERATOR_LABEL = "ray.io/accelerator-type"
REGION_LABEL = "ray.io/availability-region"
PROVIDER_LABEL = "longhaul/provider"
INSTANCE_TYPE_LABEL = "longhaul/instance-type"
INSTANCE_LABEL = "longhaul/instance-id"
"""Ours are those that `pipeline.cluster.instance` finds out; `ray start --labels` may say them too, and wins."""
