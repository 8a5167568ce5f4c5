from llm_core.contracts.plugin import contract_tests

test_contract = contract_tests("my_model.components")
