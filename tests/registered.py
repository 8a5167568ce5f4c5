"""What registries hold without plug-ins: another test of the same process may have loaded some."""

from llm_core.registry import Registry


def built_in(registry: Registry) -> list[str]:
    """The names that come with Pedigree, in order."""
    return [name for name, target in registry.items() if target.startswith("llm_core.")]
