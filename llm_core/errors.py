"""Errors that are written for the user."""


class PedigreeError(Exception):
    """An error that the user can fix. The message names the file, field or record, and says what to do.

    The command line prints it without a traceback. Any other exception is a bug in Pedigree.
    """


class UnknownYetError(PedigreeError):
    """This machine does not know yet what a source contains. ``Stage.look_up`` asks the network before the stage is
    built. A plan never asks: it shows the stage as unknown."""
