"""dlsp: code completion by masked diffusion, for every editor. This package is the language server and the command line."""

__version__ = "0.1.0"
