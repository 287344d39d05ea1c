"""What any server needs and no model knows of: configuration, lifecycle, logs, telemetry."""
