"""Which places of a document are to be filled, and the request that asks for it."""
