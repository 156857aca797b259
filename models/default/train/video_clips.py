"""What the made-up clips of the temporal model show, say and are called: scenes, and sentences about them.

A clip is one to three scenes. Each shows one product; during one of them a sound may be heard or a voice may name some
product, and a caption may lie under all of it. A clip comes with a description and with descriptions of clips that differ in
one thing only, which a mean over the clip cannot tell from it: the order, or the scene that the sound belongs to.
"""

from __future__ import annotations

import dataclasses
import random

# ESC-10's classes as they are told.
SOUNDS = {
    "Baby_cry": ["a baby cries", "a crying baby is heard"],
    "Chainsaw": ["a chainsaw runs", "a chainsaw is heard"],
    "Clock_tick": ["a clock ticks", "a ticking clock is heard"],
    "Dog_bark": ["a dog barks", "a barking dog is heard"],
    "Fire_crackling": ["a fire crackles", "a crackling fire is heard"],
    "Helicopter": ["a helicopter flies by", "a helicopter is heard"],
    "Person_sneeze": ["somebody sneezes", "a sneeze is heard"],
    "Rain": ["it rains", "rain is heard"],
    "Rooster": ["a rooster crows", "a rooster is heard"],
    "Sea_waves": ["the sea roars", "waves are heard"],
}

# Under the clip, and how a description tells of it.
CAPTIONS = [
    ("Today we cook a soup for four.", "a recipe for soup"),
    ("Everything here is half price until Sunday.", "a sale"),
    ("Pack your lunch box in five minutes.", "packing lunch"),
    ("How to keep your fridge tidy.", "keeping a fridge tidy"),
    ("A smoothie that wakes you up.", "a smoothie"),
    ("New in our store this week.", "new products"),
    ("What to buy for a birthday party.", "a party"),
    ("Baking with children.", "baking with children"),
    ("Grandmother's salad, step by step.", "a salad"),
    ("Five things for a healthy breakfast.", "breakfast"),
    ("We deliver to your door.", "home delivery"),
    ("Please recycle the packaging.", "recycling"),
    ("Grown by farmers near you.", "local farmers"),
    ("Which one is cheaper?", "comparing prices"),
    ("Camping food for a weekend.", "camping food"),
    ("Vegan cooking for beginners.", "vegan cooking"),
]

# How training tells of a clip, and a way that it lacks.
ALONE = {"train": ["{0}", "a clip of {0}", "{0} is shown"], "unseen": ["we see {0}"]}
ORDER = {
    "train": ["first {0}, then {1}", "{0} and then {1}", "{0}, followed by {1}", "it begins with {0} and ends with {1}",
              "{0} is shown before {1}", "{0}, after that {1}", "we see {0} first and {1} later"],
    "unseen": ["a clip of {0} and afterwards {1}"],
}  # fmt: skip
ORDER3 = {
    "train": ["first {0}, then {1}, then {2}", "{0}, followed by {1} and {2}", "{0}, after that {1}, at last {2}",
              "it begins with {0}, goes on with {1} and ends with {2}"],
    "unseen": ["a clip of {0}, next {1}, finally {2}"],
}  # fmt: skip
DURING = {
    "train": ["{s} while {0} is shown", "{s} during {0}", "{s} when we see {0}", "{0} is on screen as {s}"],
    "unseen": ["{s} just as {0} appears"],
}
SAYS = ["somebody says {0}", "a voice says {0}", "{0} is said"]


@dataclasses.dataclass
class Scene:
    product: int
    sound: str = ""  # a class of ESC-10
    said: int = -1  # the product that a voice names


@dataclasses.dataclass
class Clip:
    scenes: list[Scene]
    caption: int  # of CAPTIONS, -1: none
    kind: str  # "order", "sound" or "speech"
    description: str
    differing: list[str]  # descriptions of clips that differ in one thing


def draw(chance: random.Random, titles: list[str], products: list[int], unseen: bool = False) -> Clip:
    """A clip of some of `products`; `unseen`: told by a pattern that training lacks."""
    kind = chance.choice(["order", "sound", "speech"])
    count = chance.choice([1, 2, 2, 2, 3, 3])
    scenes = [Scene(p) for p in chance.sample(products, count)]
    which = chance.randrange(count)
    told = ""
    if kind == "sound":
        scenes[which].sound = chance.choice(sorted(SOUNDS))
        told = chance.choice(SOUNDS[scenes[which].sound])
    elif kind == "speech":
        scenes[which].said = chance.choice(products)
        told = chance.choice(SAYS).format(titles[scenes[which].said])
    elif chance.random() < 0.5:  # what is heard all along, and not told
        sound = chance.choice(sorted(SOUNDS))
        for scene in scenes:
            scene.sound = sound
    caption = chance.randrange(len(CAPTIONS)) if chance.random() < 0.5 else -1
    set_ = "unseen" if unseen else "train"
    pattern = chance.choice((ALONE, ORDER, ORDER3)[count - 1][set_])
    during = chance.choice(DURING[set_])

    def tell(order: list[int], heard: int) -> str:
        names = [titles[scenes[i].product] for i in order]
        text = pattern.format(*names)
        if told:
            text += "; " + during.format(titles[scenes[heard].product], s=told)
        return text + (f"; about {CAPTIONS[caption][1]}" if caption >= 0 else "")

    straight = list(range(count))
    differing = [tell(straight[::-1], which)] if count > 1 else []
    if told and count > 1:
        other = chance.choice([i for i in straight if i != which])
        differing.append(tell(straight, other))
    return Clip(scenes, caption, kind, tell(straight, which), differing)
