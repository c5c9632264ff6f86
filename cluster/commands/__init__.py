"""The verbs of `s4sweep`: ONE FILE A VERB, with HELP, add_arguments(parser) and main(args).

This folder is the registry. A file is imported only when its verb is used (or for `--help`), and
imports what is heavy inside `main`, so that `s4sweep` answers at once.
"""
