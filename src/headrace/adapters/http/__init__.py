"""The HTTP door: it translates between HTTP and the services, and decides nothing."""
