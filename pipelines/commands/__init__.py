"""The commands of ``pedigree``, by what they are for."""
