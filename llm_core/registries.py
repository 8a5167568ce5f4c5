"""All components that an experiment can name, by kind. A new one is one function or file, and one line here.

The tables contain only strings, so importing this module imports no component.
"""

from llm_core.registry import Registry

SOURCES = Registry(
    "source",
    {
        "python_docs": "llm_core.data.sources.python_docs.spec:PythonDocsSource",
        "files": "llm_core.data.sources.files.spec:FilesSource",
        "hugging_face": "llm_core.data.sources.hugging_face.spec:HuggingFaceSource",
    },
)

RULES = Registry(
    "cleaning rule",
    {
        "min_words": "llm_core.data.rules.length:min_words",
        "max_words": "llm_core.data.rules.length:max_words",
        "mean_word_length": "llm_core.data.rules.length:mean_word_length",
        "sentences": "llm_core.data.rules.length:sentences",
        "alphabetic_words": "llm_core.data.rules.characters:alphabetic_words",
        "symbols_per_word": "llm_core.data.rules.characters:symbols_per_word",
        "newlines_per_word": "llm_core.data.rules.characters:newlines_per_word",
        "curly_brackets": "llm_core.data.rules.characters:curly_brackets",
        "bullet_lines": "llm_core.data.rules.lines:bullet_lines",
        "ellipsis_lines": "llm_core.data.rules.lines:ellipsis_lines",
        "punctuated_lines": "llm_core.data.rules.lines:punctuated_lines",
        "short_lines": "llm_core.data.rules.lines:short_lines",
        "duplicate_lines": "llm_core.data.rules.repetition:duplicate_lines",
        "duplicate_line_characters": "llm_core.data.rules.repetition:duplicate_line_characters",
        "duplicate_paragraphs": "llm_core.data.rules.repetition:duplicate_paragraphs",
        "duplicate_paragraph_characters": "llm_core.data.rules.repetition:duplicate_paragraph_characters",
        "top_2_gram": "llm_core.data.rules.repetition:top_2_gram",
        "top_3_gram": "llm_core.data.rules.repetition:top_3_gram",
        "top_4_gram": "llm_core.data.rules.repetition:top_4_gram",
        "duplicate_5_grams": "llm_core.data.rules.repetition:duplicate_5_grams",
        "duplicate_6_grams": "llm_core.data.rules.repetition:duplicate_6_grams",
        "duplicate_7_grams": "llm_core.data.rules.repetition:duplicate_7_grams",
        "duplicate_8_grams": "llm_core.data.rules.repetition:duplicate_8_grams",
        "duplicate_9_grams": "llm_core.data.rules.repetition:duplicate_9_grams",
        "duplicate_10_grams": "llm_core.data.rules.repetition:duplicate_10_grams",
        "stop_words": "llm_core.data.rules.words:stop_words",
        "lorem_ipsum": "llm_core.data.rules.words:lorem_ipsum",
    },
    contract="llm_core.contracts.at_reading:check_rule",
)

LINE_RULES = Registry(
    "line rule",
    {
        "line_words": "llm_core.data.rules.of_lines:line_words",
        "line_longest_word": "llm_core.data.rules.of_lines:line_longest_word",
        "line_sentence_end": "llm_core.data.rules.of_lines:line_sentence_end",
        "line_javascript": "llm_core.data.rules.of_lines:line_javascript",
        "line_policy": "llm_core.data.rules.of_lines:line_policy",
    },
    contract="llm_core.contracts.at_reading:check_rule",
)

REDACTIONS = Registry(
    "redaction",
    {
        "citations": "llm_core.data.redactions.spec:Citations",
        "emails": "llm_core.data.redactions.spec:Emails",
        "public_ips": "llm_core.data.redactions.spec:PublicAddresses",
        "ips": "llm_core.data.redactions.spec:Addresses",
        "phones": "llm_core.data.redactions.phones.spec:Phones",
    },
)

PACKINGS = Registry(
    "packing",
    {
        "concat": "llm_core.tokens.packing:Concat",
        "best_fit": "llm_core.tokens.packing:BestFit",
        "pad": "llm_core.tokens.packing:Pad",
    },
    contract="llm_core.contracts.at_reading:check_packing",
)

MIXERS = Registry(
    "mixer",
    {
        "attention": "llm_core.model.mixers.attention.spec:Attention",
        "mla": "llm_core.model.mixers.mla.spec:LatentAttention",
        "liv": "llm_core.model.mixers.liv.spec:ShortConvolution",
        "mamba": "llm_core.model.mixers.mamba.spec:Mamba",
        "mamba2": "llm_core.model.mixers.mamba2.spec:Mamba2",
        "retention": "llm_core.model.mixers.retnet.spec:Retention",
        "hyena": "llm_core.model.mixers.hyena.spec:Hyena",
        "rwkv4": "llm_core.model.mixers.rwkv4.spec:Rwkv4",
        "rwkv7": "llm_core.model.mixers.rwkv7.spec:Rwkv7",
    },
)

NORMS = Registry(
    "norm",
    {
        "rmsnorm": "llm_core.model.norms.spec:RMSNorm",
        "layernorm": "llm_core.model.norms.spec:LayerNorm",
    },
)

# How attention encodes positions.
POSITIONS = Registry(
    "position encoding",
    {
        "rope": "llm_core.model.positions.rope.spec:Rope",
        "alibi": "llm_core.model.positions.alibi.spec:Alibi",
        "nope": "llm_core.model.positions.nope.spec:Nope",
    },
)

# Position encodings that are added to the embedding instead.
ABSOLUTE_POSITIONS = Registry(
    "absolute position encoding",
    {
        "sinusoidal": "llm_core.model.positions.absolute.spec:Sinusoidal",
        "learned": "llm_core.model.positions.absolute.spec:Learned",
    },
)

FEED_FORWARDS = Registry(
    "feed-forward",
    {
        "swiglu": "llm_core.model.feed_forwards.gated.spec:SwiGLU",
        "geglu": "llm_core.model.feed_forwards.gated.spec:GeGLU",
        "gelu": "llm_core.model.feed_forwards.plain.spec:GELU",
        "gelu_tanh": "llm_core.model.feed_forwards.plain.spec:GELUTanh",
        "relu": "llm_core.model.feed_forwards.plain.spec:ReLU",
        "relu2": "llm_core.model.feed_forwards.plain.spec:ReLU2",
        "rwkv4_channel_mix": "llm_core.model.feed_forwards.channel_mix.spec:Rwkv4ChannelMix",
        "rwkv7_channel_mix": "llm_core.model.feed_forwards.channel_mix.spec:Rwkv7ChannelMix",
        "moe": "llm_core.model.feed_forwards.moe.spec:MixtureOfExperts",
    },
)

# Architectures of transformers by their ``model_type``, in the order in which an export tries them: the plainest that
# fits is the one that most programs know.
HF_FAMILIES = Registry(
    "Hugging Face family",
    {
        "llama": "llm_core.model.hf.llama:LLAMA",
        "mistral": "llm_core.model.hf.llama:MISTRAL",
        "qwen2": "llm_core.model.hf.llama:QWEN2",
        "qwen3": "llm_core.model.hf.llama:QWEN3",
        "smollm3": "llm_core.model.hf.llama:SMOLLM3",
        "phi3": "llm_core.model.hf.phi3:PHI3",
        "granite": "llm_core.model.hf.llama:GRANITE",
        "olmo2": "llm_core.model.hf.olmo:OLMO2",
        "olmo3": "llm_core.model.hf.olmo:OLMO3",
        "gemma2": "llm_core.model.hf.gemma2:GEMMA2",
        "gemma3_text": "llm_core.model.hf.gemma2:GEMMA3",
        "gpt2": "llm_core.model.hf.gpt2:GPT2",
        "gpt_neox": "llm_core.model.hf.gpt_neox:GPT_NEOX",
        "mpt": "llm_core.model.hf.mpt:MPT",
        "bloom": "llm_core.model.hf.bloom:BLOOM",
        "falcon": "llm_core.model.hf.falcon:FALCON",
        "mixtral": "llm_core.model.hf.mixtral:MIXTRAL",
        "qwen3_moe": "llm_core.model.hf.qwen3_moe:QWEN3_MOE",
        "olmoe": "llm_core.model.hf.olmo:OLMOE",
        "deepseek_v2": "llm_core.model.hf.deepseek:DEEPSEEK_V2",
        "deepseek_v3": "llm_core.model.hf.deepseek:DEEPSEEK_V3",
        "lfm2": "llm_core.model.hf.lfm2:LFM2",
        "mamba": "llm_core.model.hf.mamba:MAMBA",
        "mamba2": "llm_core.model.hf.mamba2:MAMBA2",
        "rwkv": "llm_core.model.hf.rwkv:RWKV",
    },
    contract="llm_core.contracts.at_reading:check_family",
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adamw": "llm_core.train.optimizers.adamw.spec:AdamW",
        "muon": "llm_core.train.optimizers.muon.spec:Muon",
    },
)

# Callbacks of training runs, in the order of ``llm_core.experiment.callbacks.Phase``.
CALLBACKS = Registry(
    "callback",
    {
        "profile": "llm_core.train.callbacks.spec:Profile",
        "validation": "llm_core.train.callbacks.spec:Validation",
        "machine": "llm_core.train.callbacks.spec:Machine",
        "metrics": "llm_core.train.callbacks.spec:Metrics",
        "tracking": "llm_core.train.callbacks.spec:Tracking",
        "bad_batches": "llm_core.train.callbacks.spec:BadBatches",
        "samples": "llm_core.train.callbacks.spec:Samples",
        "bad_steps": "llm_core.train.callbacks.spec:BadSteps",
        "leak_probe": "llm_core.train.callbacks.spec:LeakProbe",
        "loss_floor": "llm_core.train.callbacks.spec:LossFloor",
        "checkpointing": "llm_core.train.callbacks.spec:Checkpointing",
    },
)

# Where runs train (``compute.target``).
LAUNCHERS = Registry(
    "launcher",
    {
        "local": "llm_core.train.launchers.local:Local",
        "h100x8": "llm_core.train.launchers.h100x8:H100Node",
    },
)

SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "cosine": "llm_core.train.schedules.cosine:Cosine",
        "linear": "llm_core.train.schedules.linear:Linear",
        "wsd": "llm_core.train.schedules.wsd:WarmupStableDecay",
        "constant": "llm_core.train.schedules.constant:Constant",
    },
)

# Which of several answers is the best (``test_time_compute.judges``).
JUDGES = Registry(
    "judge",
    {
        "likelihood": "llm_core.test_time.judges:likelihood",
        "likelihood_per_token": "llm_core.test_time.judges:likelihood_per_token",
    },
    contract="llm_core.contracts.at_reading:check_judge",
)

# What an answer must keep, in suites of kind ``instructions``.
INSTRUCTION_RULES = Registry(
    "instruction rule",
    {
        "keywords:existence": "llm_core.evals.instruction_rules:existence",
        "keywords:frequency": "llm_core.evals.instruction_rules:frequency",
        "keywords:forbidden_words": "llm_core.evals.instruction_rules:forbidden_words",
        "keywords:letter_frequency": "llm_core.evals.instruction_rules:letter_frequency",
        "language:response_language": "llm_core.evals.instruction_rules:response_language",
        "length_constraints:number_sentences": "llm_core.evals.instruction_rules:number_sentences",
        "length_constraints:number_paragraphs": "llm_core.evals.instruction_rules:number_paragraphs",
        "length_constraints:number_words": "llm_core.evals.instruction_rules:number_words",
        "length_constraints:nth_paragraph_first_word": "llm_core.evals.instruction_rules:nth_paragraph_first_word",
        "detectable_content:number_placeholders": "llm_core.evals.instruction_rules:number_placeholders",
        "detectable_content:postscript": "llm_core.evals.instruction_rules:postscript",
        "detectable_format:number_bullet_lists": "llm_core.evals.instruction_rules:number_bullet_lists",
        "detectable_format:constrained_response": "llm_core.evals.instruction_rules:constrained_response",
        "detectable_format:number_highlighted_sections": "llm_core.evals.instruction_rules:number_highlighted_sections",
        "detectable_format:multiple_sections": "llm_core.evals.instruction_rules:multiple_sections",
        "detectable_format:json_format": "llm_core.evals.instruction_rules:json_format",
        "detectable_format:title": "llm_core.evals.instruction_rules:title",
        "combination:two_responses": "llm_core.evals.instruction_rules:two_responses",
        "combination:repeat_prompt": "llm_core.evals.instruction_rules:repeat_prompt",
        "startend:end_checker": "llm_core.evals.instruction_rules:end_checker",
        "startend:quotation": "llm_core.evals.instruction_rules:quotation",
        "change_case:capital_word_frequency": "llm_core.evals.instruction_rules:capital_word_frequency",
        "change_case:english_capital": "llm_core.evals.instruction_rules:english_capital",
        "change_case:english_lowercase": "llm_core.evals.instruction_rules:english_lowercase",
        "punctuation:no_comma": "llm_core.evals.instruction_rules:no_comma",
    },
    contract="llm_core.contracts.at_reading:check_instruction_rule",
)

# Sections that an experiment adds to its reports (``reports``).
SECTIONS = Registry(
    "report section",
    {
        "notes": "llm_core.report.sections.notes:Notes",
    },
)

# What a run trains on (``compute.device_type``). ``auto`` takes the first that is ``automatic`` and on the machine.
DEVICE_TYPES = Registry(
    "device type",
    {
        "cuda": "llm_core.train.devices.cuda:CUDA",
        "mps": "llm_core.train.devices.mps:MPS",
        "cpu": "llm_core.train.devices.cpu:CPU",
    },
    contract="llm_core.contracts.at_reading:check_device_type",
)
