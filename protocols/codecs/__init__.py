"""Pure decoders: bytes of a frame in, samples or a typed error out. No framework, no database, no socket."""
