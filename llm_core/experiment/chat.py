"""Chat templates that every experiment can name. In the dialect of ``transformers``, which reads them in an export."""

BUILT_IN = {
    "plain": (
        "{{ eos_token }}"
        "{% for message in messages %}"
        "{{ message['role'] | capitalize + ':\\n' + message['content'] | trim + eos_token }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
    ),
    "chatml": (
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}
"""Name → Jinja. ``llm_core.chat.template`` documents which control tokens they need."""
