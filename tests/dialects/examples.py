"""Answers in every format, and what they say: (dialect, prefix, text, what is heard)."""
# ruff: noqa: RUF001, ISC004, E501 - models have letters of their own, and a table is read by its columns

from tests.dialects.listening import call, content, reasoning

PARIS = call("get_weather", city="Paris")
ROME = call("get_weather", city="Rome", days=2)
NOW = call("now")
PARIS_JSON = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
ROME_JSON = '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}'

EXAMPLES = [
    # plain text and reasoning are the same in most formats
    ("plain", "", "Hello.\n", [content("Hello.\n")]),
    ("plain", "", " \n ", [content(" \n ")]),
    ("plain", "", f"<tool_call>{PARIS_JSON}", [content(f"<tool_call>{PARIS_JSON}")]),
    ("plain", "", "<think>\nHm.\n</think>\n\nYes.", [reasoning("Hm."), content("Yes.")]),
    ("plain", "", "\n<think>Hm", [reasoning("Hm")]),
    ("plain", "", "<think>\n\n</think>\n\nYes.", [content("Yes.")]),
    ("plain", "", "A <think> is a tag.", [content("A <think> is a tag.")]),
    ("plain", "<think>\n", "Hm.</thin</think>Yes.", [reasoning("Hm.</thin"), content("Yes.")]),
    ("plain", "<think>", "Hm. ", [reasoning("Hm. ")]),
    ("hermes", "", "Hello <tool", [content("Hello <tool")]),
    # Hermes, Qwen
    ("hermes", "", f"<tool_call>\n{PARIS_JSON}\n</tool_call>", [PARIS]),
    (
        "hermes",
        "",
        f"Let me look.\n<tool_call>\n{PARIS_JSON}\n</tool_call>\n<tool_call>{ROME_JSON}</tool_call>\n",
        [content("Let me look."), PARIS, ROME],
    ),
    ("hermes", "<think>\n", f"Rain?\n</think>\n\n<tool_call>{PARIS_JSON}</tool_call>", [reasoning("Rain?"), PARIS]),
    ("hermes", "", f"<think>Use <tool_call>?</think><tool_call>{PARIS_JSON}", [reasoning("Use <tool_call>?"), PARIS]),
    ("hermes", "", '<tool_call>{"arguments": {"city": "Paris"}, "name": "get_weather"}</tool_call>', [PARIS]),
    ("hermes", "", '<tool_call>{"name": "now"}</tool_call>', [NOW]),
    ("hermes", "", '<tool_call>{"name": "now", "arguments": null}</tool_call>', [NOW]),
    (
        "hermes",
        "",
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>',
        [PARIS],
    ),
    ("hermes", "", '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}</tool_call>', [PARIS]),
    ("hermes", "", f"<tool_call>{PARIS_JSON}</tool_call>Done.", [PARIS, content("Done.")]),
    ("hermes", "", '<tool_call>{"name": "rm"}</tool_call>', [content('<tool_call>{"name": "rm"}</tool_call>')]),
    ("hermes", "", "<tool_call>x</tool_call>", [content("<tool_call>x</tool_call>")]),
    ("hermes", "", 'A <tool_call>{"name": "now', [content('A <tool_call>{"name": "now')]),
    ("hermes", "", '<tool_call>{"name": "now", "arguments": [1]}', None),
    (
        "hermes",
        "",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Pa',
        [("call", "get_weather", '{"city": "Pa')],
    ),
    (
        "hermes",
        "",
        '<tool_call>{"name": "get_weather", "arguments": {"city": oops}}',
        [("call", "get_weather", '{"city": '), content("oops}}")],
    ),
    (
        "hermes",
        "",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "a\nb"}}',
        [("call", "get_weather", '{"city": "a\\u000ab"}')],
    ),
    # Qwen3-Coder
    (
        "qwen3-coder",
        "",
        'Sure.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nSão "Paulo"\n</parameter>\n'
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        [content("Sure."), call("get_weather", city='São "Paulo"', days=2)],
    ),
    (
        "qwen3-coder",
        "",
        "<function=get_weather><parameter=city>\nRome\n\n</parameter><parameter=units>C</parameter></function>",
        [call("get_weather", city="Rome\n", units="C")],
    ),
    (
        "qwen3-coder",
        "",
        "<tool_call><function=now></function></tool_call>\n<tool_call><function=now>\n</function>",
        [NOW, NOW],
    ),
    ("qwen3-coder", "", "<tool_call>\n<function=rm></function>", [content("<tool_call>\n<function=rm></function>")]),
    ("qwen3-coder", "", "<function=get_weather><parameter=city>Ro", [("call", "get_weather", '{"city": "Ro')]),
    (
        "qwen3-coder",
        "",
        "<function=get_weather><parameter=x!",
        [("call", "get_weather", "{}"), content("<parameter=x!")],
    ),
    # the other formats with tags
    (
        "seed-oss",
        "",
        "<seed:think>Hm</seed:think>\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n"
        "</function>\n</seed:tool_call>",
        [reasoning("Hm"), PARIS],
    ),
    (
        "minimax-m2",
        "<think>\n",
        'Hm</think>\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Rome</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        [reasoning("Hm"), ROME, NOW],
    ),
    (
        "glm-4.5",
        "",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>"
        "<arg_value>2</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        [ROME, NOW],
    ),
    (
        "deepseek-v3.2",
        "",
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        [ROME],
    ),
    (
        "deepseek-v4",
        "",
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="now">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
        [NOW],
    ),
    # Llama 3
    ("llama3", "", '{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
    ("llama3", "", '{"type": "function", "function": "now", "parameters": {}}', [NOW]),
    (
        "llama3",
        "",
        '{"name": "now", "parameters": {}}; {"name": "get_weather", "parameters": {"city": "Paris"}}',
        [NOW, PARIS],
    ),
    ("llama3", "", '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
    ("llama3", "", '<|python_tag|>get_weather.call(city="Paris")', [PARIS]),
    ("llama3", "", '<|python_tag|>get_weather.call(city="Rome", days=2)', [ROME]),
    ("llama3", "", '<|python_tag|>print("a")\n', [call("python", code='print("a")\n')]),
    ("llama3", "", '{"city": "Paris"}', [content('{"city": "Paris"}')]),
    ("llama3", "", 'Use {"name": "now", "parameters": {}}', [content('Use {"name": "now", "parameters": {}}')]),
    # Mistral
    ("mistral", "", f'[TOOL_CALLS][{PARIS_JSON[:-1]}, "id": "abcdefghi"}}, {ROME_JSON}]', [PARIS, ROME]),
    ("mistral", "", f"[TOOL_CALLS] [{PARIS_JSON}]", [PARIS]),
    ("mistral", "", "[TOOL_CALLS]nothing", [content("[TOOL_CALLS]nothing")]),
    ("mistral-args", "", '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]now[ARGS]{}', [PARIS, NOW]),
    (
        "mistral-args",
        "",
        'Hm.[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Paris"}',
        [content("Hm."), PARIS],
    ),
    ("mistral-args", "", "[THINK]Hm.[/THINK]Yes.", [reasoning("Hm."), content("Yes.")]),
    # DeepSeek
    (
        "deepseek-r1",
        "<think>\n",
        "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n'
        "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [reasoning("Hm."), PARIS, NOW],
    ),
    (
        "deepseek-v3.1",
        "",
        'Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        [content("Yes."), PARIS],
    ),
    ("deepseek-v3.1", "", "<｜tool▁calls▁begin｜>x", [content("<｜tool▁calls▁begin｜>x")]),
    # Kimi
    (
        "kimi-k2",
        "",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}'
        "<|tool_call_end|><|tool_calls_section_end|>",
        [PARIS, NOW],
    ),
    # Command-R
    (
        "command-r",
        "",
        'Action: ```json\n[\n    {\n        "tool_name": "get_weather",\n        "parameters": {"city": "Paris"}\n    }\n]```',
        [PARIS],
    ),
    (
        "command-r7b",
        "",
        "<|START_THINKING|>I will look.<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}},\n'
        '    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        [reasoning("I will look."), PARIS, NOW],
    ),
    ("command-r7b", "", "<|START_RESPONSE|>Rain.<|END_RESPONSE|>", [content("Rain.")]),
    ("command-r7b", "<|START_RESPONSE|>", "Rain.<|END_RESPONSE|>", [content("Rain.")]),
    # functionary
    (
        "functionary-v3.1",
        "",
        '<function=get_weather>{"city": "Paris"}</function>\n<function=now>{}</function>',
        [PARIS, NOW],
    ),
    ("functionary-v3.1", "", "<|python_tag|>1 + 1", [call("python", code="1 + 1")]),
    ("functionary-v3.1", "", "<function=rm>{}</function>", [content("<function=rm>{}</function>")]),
    ("functionary-v3.2", ">>>", "all\nHello.", [content("Hello.")]),
    (
        "functionary-v3.2",
        ">>>",
        'all\nLet me look.\n>>>get_weather\n{"city": "Paris"}>>>now\n{}',
        [content("Let me look."), PARIS, NOW],
    ),
    ("functionary-v3.2", ">>>", "python\n1 + 1\n", [call("python", code="1 + 1\n")]),
    ("functionary-v3.2", "", "The prompt >>> 1\n", [content("The prompt >>> 1\n")]),
    # lists behind a mark
    ("granite", "", f"<|tool_call|>[{PARIS_JSON}, {ROME_JSON}]", [PARIS, ROME]),
    ("phi-4", "", f"<|tool_call|>[{PARIS_JSON}]<|/tool_call|>", [PARIS]),
    ("nemotron-2", "", f"<TOOLCALL>[{PARIS_JSON}, {ROME_JSON}]</TOOLCALL>", [PARIS, ROME]),
    # Harmony
    (
        "harmony",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        [reasoning("Hm."), content("Yes.")],
    ),
    (
        "harmony",
        "<|start|>assistant",
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}<|call|>',
        [PARIS],
    ),
    (
        "harmony",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}",
        [reasoning("Hm"), NOW],
    ),
    ("harmony", "", "Yes.", [content("Yes.")]),
    # models that were told how to call
    ("json", "", f'{{"tool_calls": [{PARIS_JSON}, {ROME_JSON}]}}', [PARIS, ROME]),
    ("json", "", PARIS_JSON, [PARIS]),
    ("json", "", f"[{PARIS_JSON}]", [PARIS]),
    ("json", "", '{"tool_calls": []}', [content('{"tool_calls": []}')]),
    ("json", "", "Hello.", [content("Hello.")]),
    # no dialect
    ("", "<think>", "<think>Hm.</think>", [content("<think>Hm.</think>")]),
    ("of-a-newer-release", "", "<think>Hm.</think>", [content("<think>Hm.</think>")]),
]
