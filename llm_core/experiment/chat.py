"""Chat templates that every experiment can name, and the files of a tuned model."""

TEMPLATE_FILE = "chat_template.jinja"
"""The template, beside a tuned model and in an exported folder, where ``transformers`` looks for it."""
CHAT_FILE = "chat.json"
"""``system``: the persona's system line, or null. ``stop``: the ids that end an answer."""

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
"""Name → Jinja, in the dialect of ``transformers``. ``llm_core.chat.template`` says which control tokens they need."""
