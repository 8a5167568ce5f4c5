"""Training. The trainer is a separate process that needs torch, numpy, pydantic, safetensors and one JSON file."""
