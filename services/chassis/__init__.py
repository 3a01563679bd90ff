"""What every service stands on: configuration, host, logs, projections, edges. No business words; closed."""
