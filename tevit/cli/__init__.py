"""The command `tevit`: one module for each subcommand; `main` builds the parser and imports only the command that
runs.
"""
