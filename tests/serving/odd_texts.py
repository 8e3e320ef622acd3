"""Texts as nobody writes reviews and somebody will send them; each of one line, so that a pipe carries it."""

MANY_WORDS = "not " * 2500
ONE_WORD = "a" * 20_000
CONTROLS = tuple(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)))
"""Every control character of ASCII and Latin-1."""
MARKS = "".join(chr(code) for code in range(0x0300, 0x0370))
"""All marks of one block, which stand above and below a letter."""
EMOJI = "\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 "

ODD_TEXTS = {
    "nothing": "",
    "a space": " ",
    "marks alone": "!!!???",
    "2,500 words": MANY_WORDS,
    "one word of 20,000 letters": ONE_WORD,
    "control characters": "good" + "".join(set(CONTROLS) - {"\n", "\r"}) + "bad",
    "a byte-order mark and a space of no width": "\ufeffgreat\u200b!",
    "right to left, and switched": "\u0645\u062e\u064a\u0628 \u202eevil txet\u202c \u2066good\u2069",
    "letters under 112 marks each": "".join(f"{letter}{MARKS}" for letter in "good film"),
    "emoji of several code points": EMOJI * 40 + "n't do n't",
    "wide letters": "\uff2e\uff2f\uff34\u3000\uff47\uff4f\uff4f\uff44",
    "contractions of contractions": "'s o's x'n't they'd've \u2019tis 'll''re n't't's",
    "the last code points": "\ufffe\uffff\U0010ffff \ue000",
    "markup and templates": "<script>alert(1)</script> {{7*7}} ${jndi:ldap://x} ' OR 1=1 -- %s%n",
    "a path and a command": "../../etc/passwd; rm -rf / | $(reboot) `id`",
}
