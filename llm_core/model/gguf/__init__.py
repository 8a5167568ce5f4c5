"""Models as GGUF files, for llama.cpp."""
