"""Strings that break tokenizers, the same ones for a seed on every version of Python.

Only `random.Random(int).random()` is drawn from, whose sequence Python guarantees, and no property
of a character is asked: a table of Unicode that grows does not change the strings. A string
depends on the seed and its own index alone, so that one of many can be made again by itself.
"""

# Characters that look like others are the purpose of this file.
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

# Each twice or more often than chance would bring it: what some rule of the pipeline names.
PUNCTUATION = (
    *".....,,,,''''\"\"`-:;%()[]{}<>?!/&|#$*+=@\\^_~",
    *"„“”‘’‚´«»…–—−‐‑•·¿¡§°ºª¹²³½µ×÷©®™€£¥",
    *"，。、∶：？《》）！（；」「『』．～━〈〉【】％＂＇｀，．－＿",
    *"０１２３４５６７８９",
    "''",
    "´´",
    "``",
    "...",
    "..",
    ".'",
    '."',
    '",',
    ',"',
    " .",
    " ,",
    " :",
    " ;",
    " ?",
    " !",
    " %",
    "( ",
    " )",
    ") .",
    " « ",
    " » ",
    "« ",
    " »",
    "«\u00a0",
    "\u00a0»",
    "\u00a0%",
    "\u00a0:",
    "\u00a0?",
    "\u00a0!",
    "\u00a0;",
    ",\u00a0",
    "nº\u00a0",
    "\u00a0ºC",
    "\u00a0cm",
)
DIGITS = (*"0123456789", *"٠١٢٣۴۵६७८๔๕", *"Ⅷ½²⑨〇𝟗𝟘", "5,3", "1,000", "5 ", " 5", "5\u00a05", "5,")
SPACES = (
    *"          ",
    *"\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u180e\u2000\u2003\u2007\u2009\u200a",
    *"\u2028\u2029\u202f\u205f\u3000\ufeff\u200b\u2060",
    "  ",
    "\r\n",
    "\n\n",
)
INVISIBLE = (
    *"\x00\x01\x07\x08\x1b\x7f\x80\x84\x9f",
    *"\u00ad\u061c\u070f\u200c\u200c\u200d\u200d\u200e\u200f\u202a\u202e\u2061\u2066\u206f",
    *"\ufe0e\ufe0f\ufff9\ufffc\ufffd\ufffe\uffff\ue000\uf8ff",
    *"\U0001bca0\U000e0001\U000e0061\U000e0100\U000f0000\U0010fffd\U0010ffff\U0001fffe",
)
MARKS = (
    *"\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0323\u0327\u0328\u0331\u0345",
    *"\u034f\u0483\u0488\u05b0\u05bc\u064b\u0651\u0670\u0711\u20d0\u20dd\u3099\u309a\u302a",
    *"\u093c\u0941\u094d\u0902\u0903\u093e\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca",
    *"\u0e31\u0e34\u0e3a\u0e48\u0eb4\u0f71\u0f84\u1039\u103a\u17d2\u1b44\u1bab\ua806\ua953\uabed",
    *"\U00010a3f\U00011046\U000110b9\U0001d165\U0001e8d0",
)
LETTERS = (
    *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    *"áàâäãåæçéèêëíìîïñóòôöõøœßúùûüýÿžščřąęłńśźżșşțţăđőű",
    *"ÁÀÂÄÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜÝŸŽŠČŘĄĘŁŃŚŹŻȘŞȚŢĂĐŐŰ",
    *"İIıiŞĞğǅǄǆǈǋǲŉſʼŀĿĸŊﬁﬂﬃﬅﬆẞẛớỗựỪẨ",
    *"αβγδεσςωάέΐώϊϋΑΒΓΣΩΆΪᾳᾼᾠᾨῥΰἈῼϐϑϒϓ\u2126ΣΣ",
    *"абвгдежзийклмнопыъьэюяёїіѓќАБВГЙЁЇІЃЌѢѣӐӲ",
    *"אבגדשװײﬠﭏابتثجحخدسشكلمنهويىةأإآؤئﻻﷲﷺگچپیک",
    *"अआइकखगङचटतनपमयरलवशसहज्ञঅকখஅகதக்ఆకಅಕഅകකமற்",
    *"กขคงเแโใไๅำะฯๆ฿ລຂນໃམབོདགབកខគ",
    *"აბგႠႡႢᲐᲑաբգԱԲԳևአበገᏀᎠꭰᏸⲀⲁⴀ",
    *"一二三中文字漢语語国國學学々〆ぁあアァかがカガー〱ヽ゛ﾊﾞﾟｱ",
    *"가각힣한국어각ㄱㅏ한",
    *"𐐀𐐨𐒰𝐀𝒜𝓐𝔸𝛔𝜍𞤀𞤢𠀀𪛖𪜀🄰🅰",
    *"ʰʲˈˌːˑ\u02bcˆ˜ªº\u212a\u212b\u2160\u2170ⓐⒶ㎏㍿ﷻÅ",
    *"😀👍🇫🇷❤☎★",
)
WORDS = (
    *("Mr.", "Mrs.", "Dr.", "No.", "No. 5", "Nos. 7", "pp. 12", "Art. 3", "Nr. 4", "nr. 8"),
    *("e.g.", "i.e.", "U.S.", "U.S.A.", "etc.", "vs.", "St.", "Prof.", "z.B.", "d.h.", "bzw."),
    *(
        "Sig.",
        "Sra.",
        "núm.",
        "p.ej.",
        "т.е.",
        "ул.",
        "г.",
        "κ.",
        "π.χ.",
        "jan.",
        "Jan.",
        "A.",
        "Z.",
    ),
    *("mr.", "no. 5", "DR.", "NO. 7", "Ph.D.", "a.m.", "3.14", "1.000,50", "1,000.50", "10.", "x."),
    *("USA:n", "EU:ssa", "20:een", "S:t", "kl.12:30", "http://www.example.org/a?b=c&d", "a@b.cz"),
    *(
        "don't",
        "I'm",
        "it's",
        "1990's",
        "'90s",
        "rock'n'roll",
        "l'homme",
        "dell'arte",
        "aujourd'hui",
    ),
    *(
        "O'Neill",
        "ba'",
        "lo'da",
        "d’accord",
        "can’t",
        "n‘est",
        "Ma’am",
        "'tis",
        "dogs'",
        "'s",
        "o'",
    ),
    *(
        "ΟΔΟΣ",
        "ΟΔΟΣ.",
        "Σ",
        "ΣΑΣ'Σ",
        "ΑΣ\u0301",
        "ΑΣ\u00adΑ",
        "οδος",
        "Σ.Σ",
        "Α:Σ",
        "AΣ\u200d",
        "ΑΣ\u0308Β",
    ),
    *(
        "İstanbul",
        "IĞDIR",
        "ılık",
        "DİYARBAKIR",
        "Iıİi",
        "i\u0307",
        "ǅungla",
        "ĳsland",
        "straße",
        "STRAẞE",
    ),
    *("क्या", "हिन्दी", "क्षत्रिय", "ज़्यादा", "संस्कृत", "বাংলাদেশ", "தமிழ்", "తెలుగు", "ಕನ್ನಡ", "മലയാളം"),
    *(
        "می\u200cخواهم",
        "نمی‌دانم",
        "عَرَبِيّ",
        "שָׁלוֹם",
        "สวัสดี",
        "ภาษาไทย",
        "ພາສາລາວ",
        "བོད་ཡིག",
        "ខ្មែរ",
        "မြန်မာ",
    ),
    *(
        "한국어",
        "\u1112\u1161\u11ab\u1100\u116e\u11a8",
        "日本語",
        "中文。",
        "東京タワー",
        "ﾊﾝｶｸ",
        "１２３",
        "（注）",
        "「引用」",
        "《書》",
    ),
    *(
        "DOTMULTI",
        "DOTMULTI.",
        "DOTDOTMULTI",
        "DOTDOTMULTI DOTMULTI",
        "xDOTMULTI.y",
        "dotmulti",
        "DOTMULTI...",
    ),
    *(
        "THISISPROTECTED000",
        "@-@",
        "&amp;",
        "&#124;",
        "&apos;",
        "<b>",
        "</w>",
        "x</w>",
        "@@",
        "ab@@",
        "__en__",
    ),
    *(
        "<special1>",
        "<SPECIAL1>",
        "<Special0>",
        "<special9>",
        "<special10>",
        "<special",
        "special1>",
    ),
    *(
        "<s>",
        "</s>",
        "<S>",
        "</S>",
        "<pad>",
        "<PAD>",
        "<unk>",
        "<UNK>",
        "<mask>",
        "< s >",
        "<s></s>",
    ),
    *(
        "....",
        "..",
        ". . .",
        ".....",
        "…",
        "a...b",
        "...a",
        "a..",
        ".a.",
        "..'",
        '"..."',
        "-...-",
        ",.,",
    ),
    *(
        "5,3",
        "5, 3",
        "5 ,3",
        ",5",
        "5,",
        "a,5",
        "5,a",
        "1,2,3,4",
        "A,B,C,D",
        "٣,٤",
        "½,½",
        "5\u00a0000",
        "3\u00a0%",
    ),
    *(
        "5\u00a0cm",
        "20\u00a0ºC",
        "nº\u00a05",
        "nº 5",
        "5 cm",
        "7\u00a0%",
        "12\u00a0345\u00a0678",
        "1 2",
        "1\u00a02 3",
    ),
    *(
        '"quoted",',
        '"quoted."',
        '"a".',
        "„so“,",
        "«oui»,",
        "« non ».",
        "‘x’",
        "‚y‘",
        "´z´",
        "``q''",
        "''q''",
    ),
    *(
        "(a) .",
        "( b )",
        "(c),",
        "a)b",
        "a(b",
        "d ) ,",
        "5 %",
        "x :",
        "y ;",
        "z ?",
        "w !",
        "A: B",
        "a:B",
        "a:b",
    ),
)
SENTENCES = (
    'The train leaves at 9.30 a.m., doesn\'t it? Mr. Brown said "yes", but No. 5 was late.',
    "He was born in 1990's Boston. Then they moved to the U.S. and paid $1,250.75 for it.",
    "Der Zug fährt um 9.30 Uhr ab, z.B. nach Köln; „gut“, sagte Dr. Weiß – 5.000 Straßen.",
    "L'homme d'aujourd'hui n'a pas « tout » vu : 3 500 euros, c'est cher… N’est-ce pas ?",
    "¿Cómo está la Sra. Muñoz? ¡Bien! El niño pagó 1.234,50 pesetas a las 7 p.m.",
    "L'amica dell'avvocato è un'attrice; quest'anno c'era l'uscita n. 12 all'alba.",
    "A casa do sr. João não é tão cara, né? Art. 5º, § 3º.",
    "Ştiinţa şi viaţa: în România, ţara noastră, sînt 41 de judeţe. Știință și țară.",
    "USA:n presidentti matkusti EU:ssa 20:een maahan, mm. S:t Petersburgiin klo 9:30.",
    "Kl. 9:30 åkte EU:s ordförande till S:t Eriks bron, t.ex. med 5:ans buss.",
    "Dle č. 5 zák. byl „starý dům“, který stál 1 000 Kč, prodán r. 1989. Žluťoučký kůň.",
    "Zażółć gęślą jaźń, np. ul. Główna 7, godz. 12.30, tj. „teraz”.",
    "A dr. Kovács úr 10.000 forintot fizetett, ill. többet, pl. kb. 12%-ot.",
    "Москва, ул. Ленина, д. 5, кв. 12: «Добрый день!» — сказал г. Иванов в 1990 г. и ушёл.",
    "Київ — столиця України, її п’ять районів і з'їзд у 2019 р.",
    "Ο κ. Παπαδόπουλος είπε: «Ο δρόμος είναι μακρύς», π.χ. ΟΔΟΣ ΑΘΗΝΑΣ 5, μ.Χ.",
    'България, гр. София: "Къде е ж.п. гарата?" попита той.',
    "İstanbul'da 1.500 kişi IŞIK'ı gördü, dedi Dr. Çağlar. Ilık bir gün İzmir'de.",
    "ذهب الولد إلى المدرسة، ثم عاد في الساعة ٩:٣٠؛ أليس كذلك؟ قال: «نعم».",
    "وہ لاہور میں رہتا ہے، اور ۱۲ کتابیں پڑھتا ہے۔ کیا آپ نہیں جانتے؟",
    "او می‌خواهد به تهران برود؛ کتاب‌ها را نمی‌آورد.",
    'הילד הלך לבית הספר, נכון? צה"ל וג\'ירפה: "שָׁלוֹם".',
    "वह विद्यार्थी क्या पढ़ता है? हिन्दी और संस्कृत, १२ पुस्तकें। ज़रूर!",
    "தமிழ் மொழி மிகவும் பழமையானது. திரு. குமார் 5 புத்தகங்கள் வாங்கினார்.",
    "বাংলাদেশের রাজধানী ঢাকা, ১২টি গ্রন্থ। তুমি কি যাও?",
    "เขาไปโรงเรียนเวลา 9.30 น. แล้วกลับบ้านพร้อม ๆ กัน ฯลฯ",
    "他说：“今天是２０１９年８月１日。”《红楼梦》（第三回）很好看！价格为１００％…",
    "彼は「東京タワー」に行きました。９時３０分、ﾊﾝｶｸ文字も～あります。",
    "그는 오늘 학교에 갔습니다. '안녕하세요?' 라고 말했다, 3,000원.",
    "Anh ấy đã đến Hà Nội lúc 9 giờ 30, phải không? Người Việt thường ăn phở.",
    "Mtoto alikwenda shuleni saa 3:30; ng'ombe wa Bw. Juma walikula n.k.",
    "Wuxuu yidhi 'haa', lo'da iyo go'aanka ba' 12,500.",
    "D'imigh an t-uasal Ó Súilleabháin; b'fhéidir go mbeidh m'athair ann, .i. inniu.",
    "La Sra. d'Urgell no l'ha vist; col·legi, pàg. 12, il·lusió.",
    "El niño <special1> said </s> and <SPECIAL1> again <s> x <pad> <unk>.",
    "C'est l'été ; 25 ºC, 5 cm, 10 %, nº 7 !",
)
# Blocks from which whole strings are drawn, so that a script is met with its own characters.
SCRIPTS = (
    (0x20, 0x7F),
    (0x80, 0x100),
    (0x100, 0x250),
    (0x250, 0x370),
    (0x370, 0x400),
    (0x400, 0x530),
    (0x530, 0x600),
    (0x600, 0x780),
    (0x780, 0x900),
    (0x900, 0xE00),
    (0xE00, 0x10A0),
    (0x10A0, 0x1380),
    (0x1380, 0x1800),
    (0x1800, 0x1D00),
    (0x1D00, 0x1F00),
    (0x1F00, 0x2000),
    (0x2000, 0x2C00),
    (0x2C00, 0x2E80),
    (0x2E80, 0x3400),
    (0xA000, 0xAC00),
    (0xF900, 0x10000),
    (0x10000, 0x10800),
    (0x10800, 0x11000),
    (0x11000, 0x12000),
    (0x16800, 0x17000),
    (0x1B000, 0x1C000),
    (0x1D000, 0x1F000),
    (0x1F000, 0x20000),
)
PLANES = (0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x30000, 0xE0000, 0x110000)
LENGTHS = (5, 10, 20, 30, 50, 80, 140, 300)


def below(random: Random, bound: int) -> int:
    """An integer from 0 to bound - 1."""
    return int(random.random() * bound)


def one_of(random: Random, choices: Sequence[str]) -> str:
    return choices[below(random, len(choices))]


def code_point(random: Random, first: int = 0, bound: int = 0x110000) -> str:
    """Any character of a range, assigned or not, but no surrogate."""
    point = first + below(random, bound - first)
    return chr(0xE000 + point - 0xD800 if 0xD800 <= point < 0xE000 else point)


def any_code_point(random: Random) -> str:
    """A character of any plane, the low ones more often."""
    return code_point(random, bound=PLANES[below(random, len(PLANES))])


def collected(random: Random, length: int, draw: Callable[[Random], str]) -> str:
    parts: list[str] = []
    size = 0
    while size < length:
        parts.append(draw(random))
        size += len(parts[-1])
    return "".join(parts)


def random_points(random: Random, length: int) -> str:
    return collected(random, length, any_code_point)


def one_script(random: Random, length: int) -> str:
    """Characters of one block, in words, with what the rules treat in between."""
    first, bound = SCRIPTS[below(random, len(SCRIPTS))]

    def draw(random: Random) -> str:
        chance = random.random()
        if chance < 0.72:
            return code_point(random, first, bound)
        if chance < 0.86:
            return " "
        return one_of(random, PUNCTUATION if chance < 0.96 else MARKS)

    return collected(random, length, draw)


def dense_rules(random: Random, length: int) -> str:
    """Little else than what the rules treat."""

    def draw(random: Random) -> str:
        chance = random.random()
        if chance < 0.42:
            return one_of(random, PUNCTUATION)
        if chance < 0.58:
            return one_of(random, DIGITS)
        if chance < 0.76:
            return one_of(random, "aAbsSéσΣ中한का")
        return " " if chance < 0.94 else one_of(random, SPACES)

    return collected(random, length, draw)


def ascii_rules(random: Random, length: int) -> str:
    """Sequences over the few characters on which most rules turn."""
    return collected(random, length, lambda random: one_of(random, "..,,''\"\"-:; ;)(%`  a5Bs"))


def words(random: Random, length: int) -> str:
    """Words that the rules name, apart or run together."""

    def draw(random: Random) -> str:
        chance = random.random()
        if chance < 0.06:
            return one_of(random, WORDS) + one_of(random, PUNCTUATION)
        if chance < 0.12:
            return one_of(random, WORDS) + one_of(random, SPACES)
        return one_of(random, WORDS) + ("" if chance < 0.24 else " ")

    return collected(random, length, draw)


def letters(random: Random, length: int) -> str:
    """Letters of many scripts with marks, cases, digits and a few spaces."""

    def draw(random: Random) -> str:
        chance = random.random()
        if chance < 0.6:
            return one_of(random, LETTERS)
        if chance < 0.72:
            return one_of(random, MARKS)
        if chance < 0.76:
            return one_of(random, INVISIBLE)
        if chance < 0.8:
            return one_of(random, PUNCTUATION)
        return " " if chance < 0.96 else one_of(random, DIGITS)

    return collected(random, length, draw)


def long_words(random: Random, length: int) -> str:
    """Few spaces: what makes one word out of hundreds of characters."""
    alphabet = (
        "ab",
        "aeioustnr",
        "abcdefghijklmnopqrstuvwxyz",
        "абвгдежзиклмнопрст",
        "αβγδεσςΣ",
        "0123456789,.",
    )[below(random, 6)]

    def draw(random: Random) -> str:
        return one_of(random, alphabet) if random.random() < 0.99 else one_of(random, " '.-")

    return collected(random, length, draw)


def ascii_swapped(character: str) -> str:
    """The other case of an ASCII letter; other characters as they are."""
    letter = ord(character)
    if 65 <= letter <= 90:
        return chr(letter + 32)
    return chr(letter - 32) if 97 <= letter <= 122 else character


def mutated_sentence(random: Random, length: int) -> str:
    """A sentence, or the seam of two, with a few characters changed."""
    text = one_of(random, SENTENCES)
    if random.random() < 0.3:
        other = one_of(random, SENTENCES)
        seam = one_of(random, SPACES) if random.random() < 0.5 else one_of(random, PUNCTUATION)
        text = text[below(random, len(text)) :] + seam + other[: below(random, len(other))]
    characters = list(text)
    for _ in range(below(random, 7)):
        if not characters:
            break
        at = below(random, len(characters))
        match below(random, 8):
            case 0:
                del characters[at]
            case 1:
                characters[at:at] = one_of(random, PUNCTUATION)
            case 2:
                characters[at:at] = one_of(random, SPACES)
            case 3:
                characters[at:at] = one_of(random, MARKS)
            case 4:
                characters[at:at] = one_of(random, INVISIBLE)
            case 5:
                characters[at] = any_code_point(random)
            case 6:
                characters[at : at + 9] = map(ascii_swapped, characters[at : at + 9])
            case _:
                characters[at:at] = one_of(random, WORDS)
    return "".join(characters)


# Kind -> how often, of a hundred.
KINDS: tuple[tuple[Callable[[Random, int], str], int], ...] = (
    (mutated_sentence, 28),
    (dense_rules, 17),
    (words, 16),
    (letters, 13),
    (one_script, 9),
    (ascii_rules, 8),
    (random_points, 6),
    (long_words, 3),
)
TABLE = tuple(kind for kind, share in KINDS for _ in range(share))


def fuzz_text(seed: int, index: int) -> str:
    """The string of an index, of at most 300 characters."""
    random = Random(seed * 1_000_003 + index)
    kind = TABLE[below(random, len(TABLE))]
    length = below(random, LENGTHS[below(random, len(LENGTHS))]) + (random.random() > 0.02)
    return kind(random, length)[:300]


def fuzz_texts(count: int, seed: int, start: int = 0) -> list[str]:
    """The strings `start` to `start + count - 1` of a seed."""
    return [fuzz_text(seed, index) for index in range(start, start + count)]
