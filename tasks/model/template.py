"""Chat templates by name, as Jinja: the one that is trained is the one that is released."""

# Tulu 2's form (arXiv 2311.10702): roles on their own lines, an assistant turn ends with EOS. `generation` marks what is trained.
TULU = (
    "{{ bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
    "{%- generation %}{{ message['content'] + eos_token }}{%- endgeneration %}"
    "{%- if not loop.last %}{{ '\n' }}{%- endif %}"
    "{%- else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{%- endif %}"
)
TEMPLATES = {"tulu": TULU}
