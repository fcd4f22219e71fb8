"""Response compression: the configuration, and what applies it."""
