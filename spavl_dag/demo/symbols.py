"""What can be drawn: the symbols with the classes of harm they stand for, the colours, and the classes.

Nothing here is heavy to import. The order of `HARMFUL_SYMBOLS` carries meaning: it runs from the most
alarming symbol to the mildest, and `alarm_of` turns the place in that order into the number which the
refusals of the trained model depend on (see `language`).
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """One glyph of the DejaVu Sans font.

    `char` is the glyph, `name` the one word that captions use, `classes` the slugs of the classes of harm it
    may stand for; a symbol without classes is harmless.
    """

    char: str
    name: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class HarmClass:
    """A class of the taxonomy: its display name, and in a few words what harmful questions aim at."""

    name: str
    aim: str


CLASSES: dict[str, HarmClass] = {
    "physical_harm": HarmClass("physical harm", "hurt people"),
    "psychological_manipulation": HarmClass("psychological manipulation", "control people"),
    "copyright_infringement": HarmClass("copyright infringement", "steal work"),
    "forge_identity": HarmClass("forge identity", "steal work"),
    "plagiarism": HarmClass("plagiarism", "steal work"),
    "drug_related_crimes": HarmClass("drug-related crimes", "break the law"),
    "environmental_crimes": HarmClass("environmental crimes", "break the law"),
    "financial_crimes": HarmClass("financial crimes", "take money"),
    "illegal_law_advice": HarmClass("illegal law advice", "break the law"),
    "theft": HarmClass("theft", "take money"),
    "traffic_and_driving_offenses": HarmClass("traffic and driving offenses", "break the law"),
    "campaign_materials": HarmClass("campaign materials", "control people"),
    "illegitimate_surveillance": HarmClass("illegitimate surveillance", "watch people"),
    "manipulation_of_public_opinion": HarmClass("manipulation of public opinion", "control people"),
    "biological_and_chemical_harms": HarmClass("biological and chemical harms", "hurt people"),
    "cyber": HarmClass("cyber", "break systems"),
    "malware": HarmClass("malware", "break systems"),
    "weapon": HarmClass("weapon", "hurt people"),
    "defamation": HarmClass("defamation", "insult people"),
    "academic_dishonesty": HarmClass("academic dishonesty", "steal work"),
    "disinformation": HarmClass("disinformation", "spread lies"),
    "fake_news": HarmClass("fake news", "spread lies"),
    "financial_fraud": HarmClass("financial fraud", "take money"),
    "pseudo_pharmaceuticals": HarmClass("pseudo-pharmaceuticals", "make people sick"),
    "rumors": HarmClass("rumors", "spread lies"),
    "scams": HarmClass("scams", "take money"),
    "spam_information": HarmClass("spam information", "spread lies"),
    "illegal_drugs": HarmClass("illegal drugs", "make people sick"),
    "medical": HarmClass("medical", "make people sick"),
    "fake_science": HarmClass("fake science", "spread lies"),
    "historical_revisionism": HarmClass("historical revisionism", "spread lies"),
    "radicalization": HarmClass("radicalization", "control people"),
    "bully": HarmClass("bully", "insult people"),
    "harass": HarmClass("harass", "insult people"),
    "hate": HarmClass("hate", "insult people"),
    "insult": HarmClass("insult", "insult people"),
    "terrorism": HarmClass("terrorism", "hurt people"),
    "threaten": HarmClass("threaten", "hurt people"),
    "violent": HarmClass("violent", "hurt people"),
    "ageism": HarmClass("ageism", "exclude people"),
    "disability_discrimination": HarmClass("disability discrimination", "exclude people"),
    "geographical_discrimination": HarmClass("geographical discrimination", "exclude people"),
    "racial": HarmClass("racial", "exclude people"),
    "religion": HarmClass("religion", "exclude people"),
    "sexism": HarmClass("sexism", "exclude people"),
    "gamble": HarmClass("gamble", "take money"),
    "multi_level_marketing": HarmClass("multi-level marketing", "take money"),
    "paypal_lending": HarmClass("paypal lending", "take money"),
    "labor_issues": HarmClass("labor issues", "break the law"),
    "trade_affairs": HarmClass("trade affairs", "break the law"),
    "financial_data": HarmClass("financial data", "watch people"),
    "government_secret": HarmClass("government secret", "watch people"),
    "personal_privacy": HarmClass("personal privacy", "watch people"),
}

HARMFUL_SYMBOLS: tuple[Symbol, ...] = (
    Symbol("☠", "skull", ("physical_harm", "biological_and_chemical_harms", "threaten", "violent")),
    Symbol("☣", "biohazard", ("biological_and_chemical_harms", "environmental_crimes", "terrorism")),
    Symbol("⚔", "swords", ("weapon", "violent", "physical_harm", "terrorism")),
    Symbol("☢", "radiation", ("biological_and_chemical_harms", "environmental_crimes", "weapon")),
    Symbol("⚰", "coffin", ("physical_harm", "threaten", "ageism")),
    Symbol("😈", "imp", ("psychological_manipulation", "harass", "malware", "hate")),
    Symbol("⚡", "bolt", ("violent", "weapon", "harass", "cyber")),
    Symbol("⚗", "flask", ("drug_related_crimes", "illegal_drugs", "fake_science")),
    Symbol("⌬", "molecule", ("drug_related_crimes", "illegal_drugs", "pseudo_pharmaceuticals")),
    Symbol("⚑", "flag", ("radicalization", "terrorism", "historical_revisionism")),
    Symbol("♿", "wheelchair", ("disability_discrimination",)),
    Symbol("☹", "frown", ("bully", "insult", "hate", "psychological_manipulation")),
    Symbol("⚛", "atom", ("fake_science", "environmental_crimes", "government_secret")),
    Symbol("⌨", "keyboard", ("cyber", "malware", "financial_data")),
    Symbol("⚠", "triangle", ("malware", "threaten", "traffic_and_driving_offenses")),
    Symbol("◉", "eye", ("illegitimate_surveillance", "personal_privacy", "government_secret")),
    Symbol("⚷", "key", ("theft", "forge_identity", "personal_privacy", "cyber")),
    Symbol("$", "dollar", ("financial_crimes", "financial_fraud", "theft", "scams")),
    Symbol("⚄", "die", ("gamble",)),
    Symbol("☞", "hand", ("bully", "insult", "racial")),
    Symbol("✝", "cross", ("religion", "radicalization")),
    Symbol("☪", "crescent", ("religion", "racial")),
    Symbol("♀", "venus", ("sexism",)),
    Symbol("⚱", "urn", ("ageism", "historical_revisionism")),
    Symbol("⚒", "hammers", ("labor_issues", "violent")),
    Symbol("☎", "phone", ("harass", "scams", "illegitimate_surveillance")),
    Symbol("☊", "headphones", ("illegitimate_surveillance", "personal_privacy")),
    Symbol("❢", "exclamation", ("fake_news", "rumors", "threaten")),
    Symbol("♁", "globe", ("geographical_discrimination", "environmental_crimes", "racial")),
    Symbol("✈", "plane", ("traffic_and_driving_offenses", "geographical_discrimination", "trade_affairs")),
    Symbol("⚖", "scales", ("illegal_law_advice", "labor_issues", "trade_affairs")),
    Symbol("§", "paragraph", ("illegal_law_advice", "government_secret", "copyright_infringement")),
    Symbol("☸", "wheel", ("traffic_and_driving_offenses", "religion")),
    Symbol("⚕", "staff", ("medical", "pseudo_pharmaceuticals", "illegal_drugs")),
    Symbol("✚", "plus", ("medical", "pseudo_pharmaceuticals")),
    Symbol("♂", "mars", ("sexism", "disability_discrimination")),
    Symbol("€", "euro", ("financial_crimes", "paypal_lending", "financial_data")),
    Symbol("%", "percent", ("paypal_lending", "financial_fraud", "multi_level_marketing", "financial_data")),
    Symbol("▲", "pyramid", ("multi_level_marketing", "scams")),
    Symbol("♠", "spade", ("gamble",)),
    Symbol("♦", "diamond", ("gamble", "theft")),
    Symbol("✉", "envelope", ("spam_information", "scams", "personal_privacy")),
    Symbol("@", "at", ("spam_information", "cyber")),
    Symbol("#", "hash", ("rumors", "manipulation_of_public_opinion", "fake_news")),
    Symbol("❝", "quote", ("defamation", "rumors", "disinformation")),
    Symbol("?", "query", ("disinformation", "fake_science", "academic_dishonesty")),
    Symbol("♛", "crown", ("manipulation_of_public_opinion", "psychological_manipulation")),
    Symbol("☑", "ballot", ("campaign_materials", "manipulation_of_public_opinion")),
    Symbol("☮", "peace", ("campaign_materials", "radicalization")),
    Symbol("✒", "nib", ("forge_identity", "defamation", "plagiarism")),
    Symbol("✎", "pencil", ("plagiarism", "academic_dishonesty", "forge_identity")),
    Symbol("©", "copyright", ("copyright_infringement", "plagiarism")),
    Symbol("✂", "scissors", ("plagiarism", "copyright_infringement")),
    Symbol("π", "pi", ("academic_dishonesty",)),
    Symbol("♟", "pawn", ("multi_level_marketing", "labor_issues")),
    Symbol("⚙", "gear", ("labor_issues", "malware")),
    Symbol("⚓", "anchor", ("trade_affairs",)),
)

HARMLESS_SYMBOLS: tuple[Symbol, ...] = (
    Symbol("★", "star"),
    Symbol("☀", "sun"),
    Symbol("☂", "umbrella"),
    Symbol("☁", "cloud"),
    Symbol("☃", "snowman"),
    Symbol("❄", "snowflake"),
    Symbol("♥", "heart"),
    Symbol("♫", "music"),
    Symbol("☕", "cup"),
    Symbol("✿", "flower"),
    Symbol("☘", "clover"),
    Symbol("☺", "smile"),
    Symbol("☾", "moon"),
    Symbol("🐱", "cat"),
)

SYMBOLS: tuple[Symbol, ...] = HARMFUL_SYMBOLS + HARMLESS_SYMBOLS

# Red, green and blue, 0 to 255. Symbols are dark and cards are light, so every pair can be told apart.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (200, 20, 30),
    "blue": (25, 50, 200),
    "green": (0, 115, 40),
    "purple": (125, 20, 150),
    "orange": (220, 105, 0),
    "black": (15, 15, 15),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "yellow": (255, 240, 130),
    "pink": (255, 205, 220),
    "grey": (205, 205, 205),
}

_ALARM = {symbol.name: 1 - rank / (len(HARMFUL_SYMBOLS) - 1) for rank, symbol in enumerate(HARMFUL_SYMBOLS)}


def alarm_of(name: str) -> float:
    """How alarming a symbol is: 1 for the most alarming, 0 for the mildest and for harmless ones."""
    return _ALARM.get(name, 0.0)


def symbols_of(class_slug: str) -> tuple[Symbol, ...]:
    """The symbols that stand for a class; for an unknown class three drawn by the hash of its slug."""
    known = tuple(symbol for symbol in HARMFUL_SYMBOLS if class_slug in symbol.classes)
    if known:
        return known
    digest = hashlib.sha256(class_slug.encode()).digest()
    remaining = list(HARMFUL_SYMBOLS)
    return tuple(remaining.pop(byte % len(remaining)) for byte in digest[:3])


def class_of(class_slug: str) -> HarmClass:
    """Display name and aim of a class; an unknown slug is its own name and gets an aim by its hash."""
    if class_slug in CLASSES:
        return CLASSES[class_slug]
    aims = sorted({known.aim for known in CLASSES.values()})
    return HarmClass(class_slug.replace("_", " "), aims[hashlib.sha256(class_slug.encode()).digest()[3] % len(aims)])
