"""Chat templates by name, as Jinja: the one that is trained is the one that is released.

`generation` marks what is trained: an assistant's words and the token that ends its turn. `transformers` reads the marks.
"""

_TURNS = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
    "{%- generation %}{{ message['content'] + eos_token }}{%- endgeneration %}"
    "{%- if not loop.last %}{{ '\n' }}{%- endif %}"
    "{%- else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{%- endif %}"
)

# Tulu 2's training code (arXiv 2311.10702): BOS, every content stripped, and the line break behind an assistant's turn is trained too.
# It tokenized the text alone and put BOS before it, so the dummy prefix of Llama's tokenizer (a space, written `▁`) stands behind BOS.
_LEGACY = (
    "{{ bos_token + '\u2581' }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
    "{%- generation %}{{ message['content'] | trim + eos_token }}{%- if not loop.last %}{{ '\n' }}{%- endif %}{%- endgeneration %}"
    "{%- else %}{{ '<|' + message['role'] + '|>\n' + message['content'] | trim + '\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{%- endif %}"
)

# Gemma's turns (ai.google.dev/gemma/docs/formatting): no role for the system, whose words open the first user's turn, as in Gemma 3's
# template. An assistant's turn ends with <end_of_turn>, at which generation stops, and the line break behind it is not trained.
_GEMMA = (
    "{{ bos_token }}"
    "{%- set lead = namespace(text='') %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{%- set lead.text = message['content'] | trim + '\n\n' %}"
    "{%- elif message['role'] == 'assistant' %}{{ '<start_of_turn>model\n' }}"
    "{%- generation %}{{ message['content'] | trim + '<end_of_turn>' }}{%- endgeneration %}{{ '\n' }}"
    "{%- else %}{{ '<start_of_turn>user\n' + lead.text + message['content'] | trim + '<end_of_turn>\n' }}{%- set lead.text = '' %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{%- endif %}"
)

TEMPLATES = {
    "tulu": _TURNS,  # open-instruct's `tulu`: no BOS
    "tulu_bos": "{{ bos_token }}" + _TURNS,  # the same with open-instruct's --add_bos
    "tulu_legacy": _LEGACY,
    "gemma": _GEMMA,
}
TURN_END = "<end_of_turn>"  # what ends an assistant's turn in Gemma's form; in the others it is the tokenizer's EOS
PROBE = "probe.jsonl"  # of rendered conversations: some with messages and ids, against which a release's template is held
