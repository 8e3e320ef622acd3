"""Label reviews with an exported model; needs only onnxruntime and numpy.

    python onnx_without_sentiscale.py model.onnx < reviews.txt

One review a line in, `label<TAB>probability` a line out. Everything but the rule that cuts text into words is
inside the ONNX file: vocabulary, labels, how many words to hand over. The rule here is that of models trained
with the default cleaning, version 2 of `words`. It was tested to agree with sentiscale's own on any text of
Unicode 14.0.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from html.entities import html5

import numpy as np
import onnxruntime

# --- text to words -----------------------------------------------------------------------------------
# First HTML, then Unicode, then tokens. `sentiscale.text.clean` describes the rule, version 2 of `words`.

ELEMENTS = """
a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote
body br button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl
dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hr html i
iframe img input ins kbd label legend li link main map mark marquee menu meta meter nav nobr noframes noscript
o:p object ol optgroup option output p param picture pre progress q rp rt ruby s samp script section select
small source span strike strong style sub summary sup svg table tbody td template textarea tfoot th thead time
title tr track tt u ul var video wbr
"""
NAMES = "|".join(sorted(ELEMENTS.split(), key=len, reverse=True))
TAG = re.compile(
    rf"<!(?=[-a-z])[^<>]*>|</?(?:{NAMES})(?![a-z0-9:])(?:(?=[\x00-\x20/])[^<>]*=[^<>]*|[\x00-\x20/]*)>",
    re.I | re.A,
)
ENTITY = re.compile(r"&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);|([a-zA-Z][a-zA-Z0-9:]*)(;?))")
ENDLESS = '&<>"\u00a0'
APOSTROPHES = "'`\u00b4\u02bb\u02bc\u2018\u2019\u201b\u2032\uff07"
BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0"
UNSPACED = re.compile(
    "CJK (UNIFIED|COMPAT)|IDEOGRAPHIC (ITERATION|NUMBER ZERO)|VERTICAL (IDEOGRAPHIC|KANA)|HIRAGANA |KATAKANA"
    "|HALFWIDTH KATAKANA|HENTAIGANA|MASU|THAI |LAO |KHMER |MYANMAR "
)
TO_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, APOSTROPHES), "'")


def decoded(text: str, at: int) -> tuple[str, int] | None:
    """Character of the entity whose `&` is at `at`, and where it ends; of "&amp;#39;" the apostrophe."""
    found = ENTITY.match(text, at)
    if not found:
        return None
    decimal, hexadecimal, name, end = found.groups()
    if name is not None:
        char = html5.get(f"{name};", "") if len(name) <= 8 else ""
        following = text[found.end() : found.end() + 1]
        if len(char) != 1 or not (end or (char in ENDLESS and (following < "\x80" and following != "="))):
            return None
    else:
        number = int(decimal) if decimal else int(hexadecimal, 16)
        windows = bytes([number]).decode("cp1252", "replace") if 0x80 <= number < 0xA0 else ""
        valid = 0 < number < 0x110000 and not 0xD800 <= number < 0xE000
        char = windows or (chr(number) if valid else "\ufffd")
    again = char == "&" and decoded(f"{text[: found.end() - 1]}&{text[found.end() :]}", found.end() - 1)
    return again or (char, found.end())


def without_markup(text: str) -> str:
    """Text with a space for each tag and the character for each entity."""
    done, at = "", 0
    while at < len(text):
        char, at = (decoded(text, at) if text[at] == "&" else None) or (text[at], at + 1)
        done += char
        start = done.rfind("<")
        if char == ">" and start >= 0 and TAG.fullmatch(done, start) and len(done[start:].encode()) <= 1000:
            done = f"{done[:start]} "
    return done


@cache
def kind(char: str) -> str:
    """Kind of a character.

    W: letter or digit, C: combining, U: letter of a script without spaces, S: symbol, M: ! or ?, F: may begin
    an emoticon, I: invisible, ': apostrophe, -: separator.
    """
    code, category, name = ord(char), unicodedata.category(char), unicodedata.name(char, "")
    if char in APOSTROPHES:
        return "'"
    if set(unicodedata.normalize("NFKC", char)) <= set("!?"):
        return "M"
    if chr(TO_ASCII.get(code, code)) in ":;=<>()^-*\\":
        return "F"
    if category == "Cf" or "VARIATION SELECTOR" in name or char in BLANKS:
        return "I"
    if 0x1F3FB <= code < 0x1F400 or 0xE0000 <= code < 0xE1000:
        return "I"
    if category == "Cn":
        return "S" if 0x1F000 <= code < 0x1FB00 else "U" if 0x20000 <= code < 0x40000 else "W"
    if category[0] in "LN" and (category[0] == "L" or name == "IDEOGRAPHIC NUMBER ZERO"):
        return "U" if UNSPACED.match(name) else "W"
    symbol = category in ("So", "Sk", "Co") or (category == "Sm" and code >= 0x2190)
    return {"N": "W", "M": "C"}.get(category[0], "S" if symbol and code > 0x7F and code != 0x2800 else "-")


def folded(text: str) -> str:
    """Text in composed form, without case and without invisible characters."""
    text = "".join(char for char in text if kind(char) != "I")
    text = unicodedata.normalize("NFD", text).replace("\u0131", "i").replace("\u0149", "n").casefold()
    return unicodedata.normalize("NFC", re.sub("i\u0307+", "i", text))


FACES = r"^_^ ^__^ ^^ ^-^ ^.^ ^o^ -_- -__- >_< >.< >_> <_< *_* ;_; =_= \o/"


def emoticons() -> Iterator[tuple[str, str]]:
    """Emoticons and what may be next to them: a word before (b), after (a), only spaces (s); repeats (r)."""
    for eyes, noses in ((":", "-^~o"), (";", "-^o"), ("=", "-o")):
        for nose in ("", *noses, "'", "'-", ",", "*"):
            yield from ((eyes + nose + mouth, "br" if eyes == "=" else "abr") for mouth in ")(][}{")
        yield from ((eyes + nose + mouth, "br") for nose in ("", "-", "^") for mouth in "dp")
    yield from ((face + mouth, "b") for face in (":", ":-", "=") for mouth in "/\\|")
    yield from ((face + mouth, "") for face in (":", ":-") for mouth in "osx*")
    yield from ((f">{face}{mouth}", "abr") for face in (":", ":-") for mouth in ")(][}{")
    yield from ((each, "") for each in (":3", ":'d", ">:/", ">:\\"))
    yield from ((each, "br") for each in ("<3", "</3"))
    yield from ((each, "s") for each in ("(:", "):", "(-:", ")-:", "(;", "(-;"))
    yield from ((each, "b") for each in FACES.split())


EMOTICONS = dict(emoticons())


def emoticon(text: str, at: int) -> tuple[str, int] | None:
    """Emoticon at `at`, and where it ends."""
    plain = text.translate(TO_ASCII).lower()
    found = next((plain[at : at + n] for n in range(5, 1, -1) if plain[at : at + n] in EMOTICONS), "")
    if not found:
        return None
    around, end = EMOTICONS[found], at + len(found)
    while "r" in around and plain[end : end + 1] == found[-1]:
        end += 1
    before, after = text[at - 1 : at] if at else "", text[end : end + 1]
    word_before, word_after = (bool(char) and kind(char) in "WC" for char in (before, after))
    if "s" in around:
        return (found, end) if before <= " " and after <= " " else None
    if (word_before and "b" not in around) or (word_after and (word_before or "a" not in around)):
        return None
    decimal = re.match("[.,][0-9]", plain[end:]) and found[-1] == "3"
    slashes = found[-1] in "/\\" and plain[end : end + 1] in ("/", "\\")
    digit = before in tuple("0123456789") and found[-1] in "3dp"
    return None if decimal or slashes or digit else (found, end)


TOKEN = re.compile("W[WC]*(?:'W[WC]*)*|UC*|[SMF']")
CLITIC = re.compile(r"(.+?)'?(n't|'(?:[smd]|re|ve|ll))", re.DOTALL)


def words_of(text: str) -> list[str]:
    """Words, contractions set apart ("do n't"), symbols, emoticons, `!` and `?`, at most three in a row."""
    text = folded(without_markup(text.encode("utf-8", "replace").decode()))
    kinds = "".join(map(kind, text))
    words, marks, at = [], 0, 0
    while found := TOKEN.search(kinds, at):
        at, what = found.end(), found[0][0]
        part = re.sub(f"[{APOSTROPHES}]", "'", text[found.start() : at])
        if what == "'":
            run = TOKEN.match(kinds, at)
            clitic = run and f"'{text[at : run.end()]}"
            if clitic not in ("'s", "'m", "'d", "'re", "'ve", "'ll"):
                continue
            part, at = clitic, run.end()
        elif what == "F":
            if not (face := emoticon(text, found.start())):
                continue
            part, at = face
        elif what == "M":
            part = unicodedata.normalize("NFKC", part)[0]
        marks = marks + 1 if what == "M" else 0
        if marks <= 3:
            part = part.encode()[:64].decode("utf-8", "ignore").rstrip("'")
            words += split_contractions(part) if what == "W" else [part]
    return words


def split_contractions(word: str) -> list[str]:
    """["should", "n't", "'ve"] of "shouldn't've"."""
    ends: list[str] = []
    while found := CLITIC.fullmatch(word):
        word = found[1]
        ends.insert(0, found[2])
    return [word, *ends]


# --- words to labels ---------------------------------------------------------------------------------


class Model:
    """An exported model and what it says of itself."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        rule = (facts["cleaning"], facts.get("cleaning_version", "1"))
        if rule != ("words", "2"):
            raise SystemExit(f"{path} needs version {rule[1]} of '{rule[0]}'; this example has 2 of 'words'")
        self.labels = [*json.loads(facts["labels"]), "unsure"]
        self.ids = {word: number for number, word in enumerate(facts["vocabulary"].split("\n"))}
        self.unknown, self.most = int(facts["unknown_id"]), int(facts["stored_tokens"])

    def labelled(self, texts: list[str]) -> list[tuple[str, float]]:
        """Label of each text and its probability: pad with 0, say how long each row is."""
        rows = [[self.ids.get(word, self.unknown) for word in words_of(text)[: self.most]] for text in texts]
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.zeros((len(rows), max(1, lengths.max())), np.int64)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        names = [output.name for output in self.session.get_outputs()]
        values = dict(zip(names, self.session.run(names, {"ids": ids, "lengths": lengths}), strict=True))
        if "probability" in values:  # of the second of two labels
            shares = np.stack([1 - values["probability"], values["probability"]], axis=1)
        else:
            shares = values["probabilities"]
        codes = values.get("label_code", shares.argmax(axis=1)).tolist()
        return [
            (self.labels[code], float(row[code] if code < len(row) else row.max()))
            for code, row in zip(codes, shares, strict=True)
        ]


def main(path: str) -> None:
    """Label the lines of standard input, 128 at a time."""
    model = Model(path)
    lines = [line.decode("utf-8", "replace").removesuffix("\n") for line in sys.stdin.buffer]
    for start in range(0, len(lines), 128):
        for label, probability in model.labelled(lines[start : start + 128]):
            sys.stdout.write(f"{label}\t{probability:.4f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
