"""Version 2 of the `words` profile, kind by kind."""

import pyarrow as pa
import pytest

from sentiscale.text.clean import clean
from sentiscale.text.emoticons import EMOTICONS


def words(text: str) -> str:
    return clean(pa.array([text]), "words", 2).texts()[0]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("came :)", "came :)"),
        ("came:)", "came :)"),
        ("came :)now", "came :) now"),
        (":-( and :'( and :\u2019(", ":-( and :'( and :'("),
        (":D :P lol:D xD", ":d :p lol :d xd"),
        ("so happy :)))))", "so happy :)"),
        (":DDDD", ":d"),
        ("=) =( ;) ;-) ;P", "=) =( ;) ;-) ;p"),
        (":/ :\\ :| =/", ":/ :\\ :| =/"),
        ("I <3 it <333 </3", "i <3 it <3 </3"),
        (">:( >:-) :o) :^) :3", ">:( >:-) :o) :^) :3"),
        ("^_^ ^^ -_- >_< T_T", "^_^ ^^ -_- >_< t t"),
        ("(: ):", "(: ):"),
        ("\uff1a\uff09 \uff1b\uff0d\uff09 \uff1c3", ":) ;-) <3"),
        ("(nice :))", "(nice :)".replace("(", "")),
        (":):(", ":) :("),
        ("good\n:)", "good :)"),
        (":*", ":*"),
    ],
)
def test_emoticons_are_tokens(text, cleaned):
    assert words(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("http://a.b/c", "http a b c"),
        ("https://", "https"),
        ("at 10:30, 4:3 or 16:9", "at 10 30 4 3 or 16 9"),
        ("Pros:(many)", "pros many"),
        ("note:Do it", "note do it"),
        ("x=(a+b)", "x a b"),
        ("C:\\dir", "c dir"),
        ("<30 days, <3.5 V, 2<3", "30 days 3 5 v 2 3"),
        ("a (see: b) c", "a see b c"),
        ("(foo): bar", "foo bar"),
        (": ) ; (", ""),
        ("5:35pm a:b", "5 35pm a b"),
        ("**Pros:** good", "pros good"),
        ("snake-_-case", "snake case"),
        ("a < b > c", "a b c"),
        ("=> -> <-", ""),
    ],
)
def test_punctuation_that_looks_like_an_emoticon_is_none(text, cleaned):
    assert words(text) == cleaned


def test_every_emoticon_is_one_token_that_stays():
    for emoticon in EMOTICONS:
        assert words(f"so {emoticon} yes") == f"so {emoticon} yes"
        assert words(emoticon.upper()) == emoticon


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("number 7\u2665", "number 7 \u2665"),
        ("\u2606\u2605\u2639", "\u2606 \u2605 \u2639"),
        ("\u2717no\u2718", "\u2717 no \u2718"),
        ("\u2764\ufe0f love\u263a", "\u2764 love \u263a"),
        ("\u2713ok", "\u2713 ok"),
        ("great\U0001f600\U0001f600", "great \U0001f600 \U0001f600"),
        ("\U0001f44d\U0001f3fd", "\U0001f44d"),
        ("\U0001f3fd", ""),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468 \U0001f469 \U0001f467"),
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764 \U0001f525"),
        ("\U0001f1fa\U0001f1f8", "\U0001f1fa \U0001f1f8"),
        ("7\ufe0f\u20e3", "7\u20e3"),
        ("Kindle\u2122 \u00a9", "kindle \u2122 \u00a9"),
        ("a\u2192b \u2260 \u221e", "a \u2192 b \u2260 \u221e"),
        ("=\u0338", "\u2260"),
        ("3\u00d74 5\u20ac \u00a35 \u00b12", "3 4 5 5 2"),
        ("\ue000\uf8ff", "\ue000 \uf8ff"),
        ("\U0001fae8", "\U0001fae8"),  # assigned after Unicode 14
        ("a\u20dd", "a\u20dd"),
    ],
)
def test_symbols_are_tokens(text, cleaned):
    assert words(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("物流太慢717。", "物 流 太 慢 717"),
        ("好评!", "好 评 !"),
        ("カタカナーです", "カ タ カ ナ ー で す"),
        ("\uff76\uff9e", "\uff76 \uff9e"),
        ("\u304b\u3099", "\u304c"),
        ("\u3042\u309a", "\u3042\u309a"),
        ("ดีมาก", "ดี ม า ก"),
        ("ที่ คู่", "ที่ คู่"),
        ("ດີ", "ດີ"),
        ("ខ្មែរ", "ខ្ មែ រ"),
        ("ကောင်း", "ကော င်း"),
        ("iPhone很好", "iphone 很 好"),
        ("人々\u3007", "人 々 \u3007"),
        ("\U00020000a", "\U00020000 a"),
        ("한국어 좋아요", "한국어 좋아요"),
        ("अच्छा है।", "अच्छा है"),
        ("日" * 22, " ".join("日" * 22)),
        ("中\u0300" * 2, "中\u0300 中\u0300"),
    ],
)
def test_scripts_without_spaces_become_one_token_per_character(text, cleaned):
    assert words(text) == cleaned


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cafe\u0301", "café"),
        ("Đe\u0302\u0301", "đế"),
        ("RẤT XẤU VỠ", "rất xấu vỡ"),
        ("\u1e9e STRASSE Straße", "ss strasse strasse"),
        ("ΣΊΣΥΦΟΣ σίσυφος", "σίσυφοσ σίσυφοσ"),
        ("\u0130Y\u0130 i\u0307yi\u0307", "iyi iyi"),
        ("I\u015eIK \u0131\u015f\u0131k", "işik işik"),
        ("\u1f88", "ἀι"),
        ("\u212b \u212a \u017fo", "å k so"),
        ("Ⴀ Ⴁ Ა", "ⴀ ⴁ ა"),
        ("\ufb01ne e\ufb03cient", "fine efficient"),
        ("ⒶⓑⒸ", "ⓐ ⓑ ⓒ"),
        ("\u1112\u1161\u11ab", "한"),
        ("\uff21\uff22", "\uff41\uff42"),
        ("q\u0323\u0307 q\u0307\u0323", "q\u0323\u0307 q\u0323\u0307"),
        ("\u1fb3\u1dc8", "\u03b1\u1dc8\u03b9"),
        ("\u0149", "n"),
        ("ȺȾ", "ⱥⱦ"),
        ("Ӄ Ꙁ Ꞃ", "ӄ ꙁ ꞃ"),
        ("𐐀 𞤀", "𐐨 𞤢"),
    ],
)
def test_characters_are_compared_by_canonical_form_and_without_case(text, same):
    assert words(text) == same == words(same)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("don&#39;t", "do n't"),
        ("don&#x27;t don&#X27;t", "do n't do n't"),
        ("don&rsquo;t don&apos;t", "do n't do n't"),
        ("don&amp;#39;t don&amp;amp;#39;t", "do n't do n't"),
        ("don&#146;t", "do n't"),
        ("don&#39t", "do n't"),
        ("Good.<br /><br />Bad.", "good bad"),
        ("good<br>bad<BR/>ok", "good bad ok"),
        ("I &lt;3 it &#128512; &hearts;", "i <3 it \U0001f600 \u2665"),
        ("&lt;br /&gt;x", "x"),
        ("<a href='x.html' target=_blank>this</a>", "this"),
        ('<p class="b">text</p><o:p></o:p>', "text"),
        ("<!-- note --> text <!DOCTYPE html>", "text"),
        ("a < b and c > d", "a b and c d"),
        ("a<b and c>d", "a b and c d"),
        ("<sigh> not <sarcasm>good</sarcasm>", "sigh not sarcasm good sarcasm"),
        ("AT&T; R&B Q&A; &c", "at t r b q a c"),
        ("caf&eacute; CAF&Eacute; e&#769;", "café café é"),
        ("a&nbsp;b&nbsp c", "a b c"),
        ("&amp; &quot;x&quot; &lt", "x"),
        ("wow&#33;&excl;", "wow ! !"),
        (":&#41;", ":)"),
        ("&#0; &#xD800; &#x110000;", "\ufffd \ufffd \ufffd"),
        ("& &; &#; &#x; <> </> <", "x"),
        ("&notanentity; &#x27 x", "notanentity x27 x"),
    ],
)
def test_markup_is_removed_and_entities_are_decoded(text, cleaned):
    assert words(text) == cleaned == words(cleaned)


@pytest.mark.parametrize("quote", "'\u00b4\u2019\u02bc`\u2018\uff07\u2032\u02bb\u201b")
def test_every_apostrophe_is_one(quote):
    assert words(f"don{quote}t it{quote}s {quote}quoted{quote} rock{quote}n{quote}roll") == (
        "do n't it 's quoted rock'n'roll"
    )


@pytest.mark.parametrize(
    "separator",
    "\u3002\u3001\uff0c\u00bf\u00a1\u00ab\u00bb\u061f\u060c\u0964\u2026\u2014\u00b7\u30fb\u300c\u055d\u1362\u05be\u2028\u3000\u00a0\u2800",
)
def test_punctuation_of_all_scripts_separates(separator):
    assert words(f"a{separator}b") == "a b"


@pytest.mark.parametrize("marks", ["!?", "\uff01\uff1f", "\ufe57\ufe56", "! ?", "\u203c\u2047"])
def test_marks_of_full_width_are_marks(marks):
    assert words(f"wow{marks}") == "wow ! ?"


@pytest.mark.parametrize(
    "invisible", "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202e\u2066\ufe0f\u034f\u3164"
)
def test_invisible_characters_are_left_out(invisible):
    assert words(f"gr{invisible}eat{invisible} e{invisible}\u0301") == "great é"


def test_a_long_word_is_cut_at_a_character_of_its_folded_form():
    assert words("x" * 63 + "\u00dfa") == "x" * 63 + "s"
    assert words("x" * 63 + "\u1fb3a") == "x" * 63
    assert words("x" * 62 + "'\u023ab") == "x" * 62
