"""The one error that is meant for people."""


class PedigreeError(Exception):
    """Something that the user can mend: the message names the file, field or record, and says what to do.

    The command line prints it without a traceback. Everything else that is raised is a defect of Pedigree.
    """
