"""The errors that are meant for people."""


class PedigreeError(Exception):
    """Something that the user can mend: the message names the file, field or record, and says what to do.

    The command line prints it without a traceback. Everything else that is raised is a defect of Pedigree.
    """


class UnknownYetError(PedigreeError):
    """What a source holds is not known on this machine yet. Whoever makes the stage asks (``Stage.look_up``); a plan
    says so, and asks nobody."""
