"""The declarations of the stages: results, inputs and checks of each."""
