"""CRUD of connections and register maps."""
