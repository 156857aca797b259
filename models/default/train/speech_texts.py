"""The sentences of the speech corpus: which text is spoken in which split.

Every part is a function that returns `Line`s for one (split, set); a part draws from its own random stream, so a change
of one part leaves the clips of all others where they are. Train texts never return in val or test, except where a line
says phrasing="seen".
"""

from __future__ import annotations

import csv
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAX_WORDS = 16  # keeps nearly every clip under five seconds


@dataclass(frozen=True)
class Line:
    """One sentence to be spoken. `target` is as the catalogue or the data set writes it, `text` as a person says it."""

    text: str
    target: str
    split: str
    set: str
    phrasing: str
    label: str | None = None  # product id, where exactly one product is meant
    item: str | None = None  # the word the sentence turns on, in `orders` and `words`


# Spelled as the engines' English letter rules say the names closest to how shoppers do.
SPOKEN_NAMES = {
    "Oatghurt": "oat gurt",
    "Soyghurt": "soy gurt",
    "Yoggi": "yoggy",
    "Oatly": "oat lee",
    "God Morgon": "good morgon",
    "Satsumas": "sat soomas",
}

PRODUCT_VAL_PHRASINGS = (
    "pick up {} on the way home", "have you run out of {}", "two of the {}, if you can", "who makes the best {}",
    "my recipe calls for {}",
)
# Around a product's name in train, with an opener and a closer that fit. The ten training phrasings of the evaluation
# come besides. None turns on what the phrasings of val or test turn on.
PRODUCT_ASKS = (
    "{}", "{}", "{}", "some {}", "any {}", "more {}", "the {}", "one {}", "three {}", "a bag of {}", "a kilo of {}",
    "half a kilo of {}", "a box of {}", "four more {}", "only {}", "maybe {}", "I need {}", "I want {}", "I want some {}",
    "I'd like some {}", "I'd like to buy {}", "I'd like to order {}", "I'll take the {}", "we need more {}",
    "give me {}", "get me some {}", "bring me {}", "send me {}", "find {}", "find me some {}", "search for {}",
    "look for {}", "look up {}", "buy {}", "order {}", "order more {}", "add {}", "add {} to the cart", "add some {} to my order",
    "put {} in the bag", "remove {} from my order", "take the {} off my order", "can I get {}", "can I have some {}",
    "could I have {}", "could you find me {}", "could you get the {}", "may I have the {}", "let me have {}",
    "let me see the {}", "do you sell {}", "have you got {}", "have you got any {}", "is there any {}", "are there any {}",
    "can you deliver {}", "remind me to buy {}", "don't forget the {}", "how about {}", "what about {}", "or {}",
)
PRODUCT_REMARKS = (
    "where are the {}", "where do you keep {}", "where is the {}", "which shelf is {} on", "take me to the {}",
    "what's the price of {}", "how expensive is {}", "is {} cheap today", "is {} on offer this week", "is the {} fresh",
    "are the {} any good", "when will you get {} again", "we are out of {}", "there is no {} at home", "my mother wants {}",
    "my wife asked for {}", "my son only eats {}", "the children love {}", "my friend told me to try {}",
    "what can I cook with {}", "how do I store {}", "is {} healthy", "how many calories are in {}", "I forgot the {}",
    "I can't find {}", "I can't find the {} anywhere", "have you seen the {}", "what goes well with {}",
    "what does {} taste like", "what is {}", "I bought {} yesterday", "I had {} for breakfast", "I love {}",
    "I don't like {}", "I'm allergic to {}", "something like {}", "something similar to {}", "anything but {}",
    "instead of {}", "I used to buy {} every week", "this is {}", "this looks like {}", "that must be {}",
    "it says {} on the label", "a picture of {}", "look, {}", "the word is {}", "compare {} with the others",
    "which one is the {}", "I said {}", "no, I meant {}", "does the soup need {}", "they were selling {} at the market",
)
PRODUCT_OPENERS = ("hi", "hello", "hey", "excuse me", "um", "okay", "so", "well", "good morning", "yes", "oh", "and")
PRODUCT_CLOSERS = (
    "please", "please", "thank you", "for today", "for tomorrow", "for the weekend", "for the kids", "for a salad",
    "for the soup", "when you get a chance", "right now", "this time", "again", "as well", "too",
)
PRODUCT_SENTENCES = 36  # of these per product

# Word filter for the comments: what a shop's model need not learn, and what is not read aloud in company.
COARSE = re.compile(
    r"\b(\w*(fuck|shit|cunt|bitch|wank|whore|slut|nigg|fagg|bastard|asshole|dickhead|retard|rape|rapist|porn|"
    r"masturbat|pussy|penis|vagina|cock)\w*|ass|arse|dick|cum|tits?|boobs?|sex\w*|hell|damn\w*|crap\w*|piss\w*|stfu|wtf|"
    r"lmf?ao|milf|kill\w*|suicid\w*|murder\w*|nazi\w*|hitler|terroris\w*|pedo\w*)\b",
    re.IGNORECASE,
)
READABLE = re.compile(r"[A-Za-z0-9 ,.'?!;:-]+")

DRINKS = {
    "coffee": (
        "coffee", "black coffee", "white coffee", "filter coffee", "drip coffee", "espresso", "double espresso",
        "single espresso", "ristretto", "lungo", "latte", "caffe latte", "vanilla latte", "caramel latte",
        "hazelnut latte", "pumpkin spice latte", "chai latte", "matcha latte", "cappuccino", "americano", "long black",
        "mocha", "white mocha", "macchiato", "caramel macchiato", "latte macchiato", "flat white", "cortado",
        "piccolo", "decaf coffee", "decaf latte", "cafe au lait", "affogato", "Irish coffee",
    ),
    "cold": (
        "iced coffee", "iced latte", "iced americano", "iced mocha", "iced cappuccino", "cold brew", "frappe", "frappuccino",
        "iced tea", "peach iced tea", "lemonade", "orange juice", "apple juice", "cola", "diet cola", "ginger ale",
        "sparkling water", "still water", "strawberry smoothie", "mango smoothie", "banana milkshake",
        "chocolate milkshake", "vanilla milkshake",
    ),
    "hot": (
        "tea", "green tea", "black tea", "earl grey", "English breakfast tea", "peppermint tea", "chamomile tea",
        "herbal tea", "lemon and ginger tea", "hot chocolate", "white hot chocolate", "cocoa", "hot milk",
    ),
}
SIZES = ("small", "medium", "large", "extra large", "regular", "tall", "little", "big")
MILKS = ("oat milk", "soy milk", "almond milk", "coconut milk", "skimmed milk", "whole milk", "semi-skimmed milk",
         "lactose free milk", "half and half", "cream", "whipped cream", "foam", "cold milk", "steamed milk")
EXTRAS = ("one sugar", "two sugars", "three sugars", "brown sugar", "sweetener", "honey", "a shot of vanilla",
          "a shot of caramel syrup", "hazelnut syrup", "an extra shot", "two extra shots", "cinnamon on top",
          "chocolate sprinkles", "extra foam", "a lemon slice", "ice", "lots of ice", "maple syrup", "cocoa powder")
WITHOUT = ("sugar", "milk", "foam", "ice", "whipped cream", "syrup", "caffeine", "lemon", "chocolate powder")
FOODS = (
    "croissant", "chocolate croissant", "blueberry muffin", "chocolate muffin", "bagel with cream cheese", "cinnamon roll",
    "scone with jam", "slice of carrot cake", "slice of cheesecake", "brownie", "chocolate chip cookie", "doughnut",
    "ham and cheese sandwich", "tuna sandwich", "egg sandwich", "club sandwich", "cheese toastie", "veggie wrap",
    "chicken wrap", "chicken burger", "cheeseburger", "veggie burger", "hot dog", "portion of fries", "side salad",
    "Greek salad", "Caesar salad", "tomato soup", "mushroom soup", "margherita pizza", "pepperoni pizza",
    "slice of pizza", "plate of spaghetti", "bowl of ramen", "chicken curry", "vegetable curry", "fried rice", "beef taco",
    "bean burrito", "falafel plate", "fish and chips", "full English breakfast", "stack of pancakes", "waffle with syrup",
    "omelette", "bowl of porridge", "fruit salad", "yogurt with granola", "scoop of vanilla ice cream", "apple pie",
)
FOOD_EXTRAS = ("extra cheese", "no onions", "ketchup on the side", "extra sauce", "no mayonnaise", "a bit of mustard",
               "gluten free bread", "hot sauce", "extra bacon", "no pickles", "butter", "a glass of water")
# The speech of an order around its noun phrase. The last lists are never in train.
ORDER_FRAMES = {
    "train": (
        "{}", "{} please", "{} to go", "{}, thanks", "I'd like {}", "I'd like {} please", "I would like {}",
        "can I get {}", "can I have {} please", "could I get {}", "could I have {} please", "may I have {}",
        "I'll have {}", "I'll take {} to go", "I want {}", "I need {}", "get me {}", "give me {} please",
        "could you make me {}", "let me get {}", "hi, can I get {}", "hello, I'd like {} please", "just {} for me",
        "one more thing, {}", "I think I'll go for {}", "do you have {}", "make it {}", "order {}",
        "order me {} for pickup", "um, {} I guess",
    ),
    "val": ("would you bring me {}", "for here, {} please", "I was hoping for {}", "my friend wants {}"),
    "test": ("good morning, {} if you don't mind", "I could really use {}", "we'll share {}", "how about {} for my wife"),
}

WORD_FRAMES = {
    "one": ("a picture of {a}", "this is {a}", "look, there is {a}", "can you see the {w}", "find me {a}",
            "show me the {w}", "I saw {a} today", "that is my {w}", "where is the {w}"),
    "any": ("the word {w}", "it says {w}", "search for {w}", "show me {w}"),
}


def article(noun: str) -> str:
    """'latte' -> 'a latte', 'espresso' -> 'an espresso'."""
    vowel = noun[0].lower() in "aeio" or re.match(r"u(?!ni|ku|n?iform)", noun.lower()) is not None
    return ("an " if vowel and not re.match(r"one\b|euro", noun.lower()) else "a ") + noun


def key(text: str) -> str:
    """Two sentences with one key sound the same."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def spoken(text: str) -> str:
    for written, said in SPOKEN_NAMES.items():
        text = text.replace(written, said)
    return text


def read_products(data: Path, model: Path) -> tuple[dict[str, str], dict[str, list[str]], dict[str, list[str]]]:
    """Names by product id, the catalogue's keywords by product id, and the phrasings of the evaluation."""
    with open(data / "grocery" / "products.csv", newline="", encoding="utf-8") as file:
        names = {row["product_id"]: row["name"] for row in csv.DictReader(file)}
    keywords = {}
    for line in (model / "catalogue.jsonl").read_text(encoding="utf-8").splitlines():
        product = json.loads(line)
        keywords[str(product["id"])] = product.get("keywords", [])
    phrasings = json.loads((model / "evaluation" / "phrasings.json").read_text(encoding="utf-8"))
    return names, keywords, phrasings


def product_line(name: str, product: str, phrasing: str, split: str, seen: bool) -> Line:
    target = phrasing.format(name)
    return Line(spoken(target), target, split, "products", "seen" if seen else "unseen", product)


def product_sentence(rng: random.Random) -> str:
    """A phrasing: what is asked or remarked, half the time with an opener, a closer or both around it."""
    ask = rng.random() < 0.65
    phrasing = rng.choice(PRODUCT_ASKS if ask else PRODUCT_REMARKS)
    if rng.random() < 0.3:
        phrasing = f"{rng.choice(PRODUCT_OPENERS)}, {phrasing}"
    if ask and rng.random() < 0.4:
        phrasing += f" {rng.choice(PRODUCT_CLOSERS)}"
    return phrasing


def products(data: Path, model: Path, split: str, rng: random.Random) -> list[Line]:
    """Train: every product alone, in the training phrasings and in many others. Val: own phrasings. Test: one seen, four not."""
    names, _, phrasings = read_products(data, model)
    lines = []
    for product, name in names.items():
        if split == "train":
            chosen = ["{}"] * 3 + phrasings["train"] + [product_sentence(rng) for _ in range(PRODUCT_SENTENCES)]
            lines += [product_line(name, product, phrasing, split, True) for phrasing in chosen]
        elif split == "val":
            lines += [product_line(name, product, phrasing, split, False) for phrasing in PRODUCT_VAL_PHRASINGS]
        else:
            lines.append(product_line(name, product, rng.choice(phrasings["train"]), split, True))
            chosen = rng.sample(phrasings["test"], 4)
            lines += [product_line(name, product, phrasing, split, False) for phrasing in chosen]
    return lines


def keywords(data: Path, model: Path) -> list[Line]:
    """The catalogue's keywords, twice; one that several products share carries no label, a Swedish one is left out."""
    _, by_product, _ = read_products(data, model)
    owners: dict[str, set[str]] = {}
    for product, words in by_product.items():
        for word in filter(str.isascii, words):
            owners.setdefault(word, set()).add(product)
    lines = [
        Line(spoken(word), word, "train", "keywords", "seen", next(iter(ids)) if len(ids) == 1 else None)
        for word, ids in owners.items()
    ]
    return lines * 2


def readable(text: str) -> bool:
    return READABLE.fullmatch(text) is not None and 2 <= len(text.split()) <= MAX_WORDS


def draw(texts: list[str], count: int, rng: random.Random, taken: set[str], split: str, name: str) -> list[Line]:
    """`count` distinct readable sentences that no earlier part holds; remembers them in `taken`."""
    lines = []
    for text in rng.sample(texts, len(texts)):
        if len(lines) == count:
            break
        text = " ".join(text.split())
        if readable(text) and key(text) not in taken:
            taken.add(key(text))
            lines.append(Line(text, text, split, name, "seen" if split == "train" else "unseen"))
    return lines


def clinc(data: Path, split: str) -> list[str]:
    with open(data / "intents" / "clinc150" / "data_full.json", encoding="utf-8") as file:
        return [text for text, _ in json.load(file)[split]]


def banking(data: Path) -> list[str]:
    with open(data / "intents" / "banking77" / "train.csv", newline="", encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


def goemotions(data: Path) -> list[str]:
    lines = (data / "text_emotion_goemotions" / "train.tsv").read_text(encoding="utf-8").splitlines()
    texts = (line.split("\t")[0].replace("\u2019", "'") for line in lines)
    return [text for text in texts if not COARSE.search(text)]


def drink_phrase(rng: random.Random) -> tuple[str, str]:
    """A noun phrase ('a large latte with oat milk') and its drink."""
    kind = rng.choices(("coffee", "cold", "hot"), (6, 2, 3))[0]
    drink = rng.choice(DRINKS[kind])
    number = rng.choices(("one", "two", "three"), (12, 2, 1))[0]
    size = rng.choice(SIZES) + " " if rng.random() < 0.5 else ""
    if number != "one" and not drink.endswith(("water", "milk", "earl grey")):
        phrase = f"{number} {size}{drink}s"
    else:
        phrase = rng.choice((article(size + drink), article(size + drink), f"one {size}{drink}", f"{size}{drink}"))
    detail = rng.random()
    if detail < 0.25:
        phrase += f" with {rng.choice(MILKS)}"
    elif detail < 0.4:
        phrase += f" with {rng.choice(EXTRAS)}"
    elif detail < 0.5:
        phrase += f" with {rng.choice(MILKS)} and {rng.choice(EXTRAS)}"
    elif detail < 0.58:
        phrase += f" without {rng.choice(WITHOUT)}"
    elif detail < 0.63:
        phrase += f", no {rng.choice(WITHOUT)}"
    return phrase, drink


def food_phrase(rng: random.Random) -> tuple[str, str]:
    food = rng.choice(FOODS)
    phrase = rng.choice((article(food), "the " + food, "one " + food))
    if rng.random() < 0.35:
        extra = rng.choice(FOOD_EXTRAS)
        phrase += f", {extra}" if extra.startswith("no ") else f" with {extra}"
    return phrase, food


def orders(split: str, count: int, rng: random.Random, taken: set[str]) -> list[Line]:
    """Orders of drinks (four in five) and dishes by combination; val and test speak them in frames of their own."""
    lines = []
    while len(lines) < count:
        phrase, item = drink_phrase(rng) if rng.random() < 0.8 else food_phrase(rng)
        if item in FOODS and rng.random() < 0.2:
            phrase = f"{phrase} and {drink_phrase(rng)[0]}"
        text = rng.choice(ORDER_FRAMES[split]).format(phrase)
        if key(text) not in taken:
            taken.add(key(text))
            lines.append(Line(text, text, split, "orders", "seen" if split == "train" else "unseen", item=item))
    return lines


def word_list() -> dict[str, bool]:
    """Word -> whether it takes an article in carrier sentences."""
    words: dict[str, bool] = {}
    for line in (HERE / "words.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            theme, entries = line.split(":", 1)
            for word in entries.split(","):
                words.setdefault(word.strip(), theme.endswith("*"))
    return words


def word_split(data: Path, model: Path, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Words of train, and fifty words each that only val and only test speak.

    Held-out words are none that train says alone elsewhere: products, keywords and what is ordered.
    """
    names, by_product, _ = read_products(data, model)
    elsewhere = {key(name) for name in names.values()} | {key(word) for group in by_product.values() for word in group}
    elsewhere |= {key(item) for group in (*DRINKS.values(), FOODS) for item in group}
    words = list(word_list())
    rng.shuffle(words)
    free = [word for word in words if key(word) not in elsewhere]
    val, test = sorted(free[:50]), sorted(free[50:100])
    return sorted(set(words) - set(val) - set(test)), val, test


def words(split: str, held_out: tuple[list[str], list[str], list[str]], rng: random.Random) -> list[Line]:
    """Train: every word alone twice, half of them once more in a carrier. Val, test: 150 words of train, 50 unseen ones."""
    train, val, test = held_out
    if split != "train":
        alone = [(word, "seen") for word in rng.sample(train, 150)]
        alone += [(word, "unseen") for word in (val if split == "val" else test)]
        return [Line(word, word, split, "words", phrasing, item=word) for word, phrasing in alone]
    countable = word_list()
    lines = [Line(word, word, split, "words", "seen", item=word) for word in train] * 2
    for word in rng.sample(train, len(train) // 2):
        frame = rng.choice(WORD_FRAMES["one" if countable[word] else "any"])
        text = frame.format(a=article(word), w=word)
        lines.append(Line(text, text, split, "words", "seen", item=word))
    return lines
