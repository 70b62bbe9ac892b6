"""The small English the bundled model is trained on: seven tasks with right answers, and random repeated blocks.

Every sample names its combination (which name pair, which country and city, ...). A combination is either a training
one or a held-out one, decided by a hash of it and nothing else, so no held-out combination is ever seen in training.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held-out"]
Combination = tuple[str, ...]
Memory = dict[tuple[str, str], str]  # (subject, attribute) -> what was said, e.g. ("France", "capital") -> "Rome"

HELD_OUT_SHARE = 0.1
# The pair of the demonstration prompt, so that its answer is never a remembered one.
ALWAYS_HELD_OUT = {("indirect object", ("John", "Mary"))}


@dataclass(frozen=True)
class Sample:
    """One sentence or a few with a blank near the end: prompt + one of answers + ending."""

    task: str
    prompt: str
    answers: tuple[str, ...]  # any is right; each starts with a space
    ending: str
    combination: Combination  # what decides the split
    states: tuple[tuple[tuple[str, str], str], ...] = ()  # what later sentences of the document must respect
    distractors: tuple[Combination, ...] = ()  # other combinations in the text; always training ones


def is_held_out(task: str, combination: Combination) -> bool:
    """Whether a combination is kept out of training: one in ten, by hash."""
    if (task, combination) in ALWAYS_HELD_OUT:
        return True
    digest = hashlib.blake2b("|".join((task, *combination)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") < HELD_OUT_SHARE * 2**32


def draw(task: str, rng: random.Random, split: Split, memory: Memory | None = None) -> Sample:
    """A random sample of a task whose combination lies in the split."""
    while True:
        sample = GENERATORS[task](rng, memory or {})
        if is_held_out(task, sample.combination) == (split == "held-out") and not any(
            is_held_out(task, other) for other in sample.distractors
        ):
            return sample


def pieces(rng: random.Random, n_characters: int, memory: Memory | None = None) -> Iterator[tuple[str, bool]]:
    """Training sentences of mixed tasks that do not contradict each other, at least n_characters long, piece by piece.

    Each piece comes with whether it is an answer. What the sentences stated is added to `memory`.
    """
    memory = {} if memory is None else memory
    written = 0
    while written < n_characters:
        sample = draw(rng.choices(TASKS, TASK_WEIGHTS)[0], rng, "train", memory)
        memory.update(sample.states)
        for text, is_answer in (
            (_gap(rng) * bool(written) + sample.prompt, False),
            (rng.choice(sample.answers), True),
            (sample.ending, False),
        ):
            written += len(text)
            yield text, is_answer


def document(rng: random.Random, n_characters: int, memory: Memory | None = None) -> str:
    """The pieces as one text."""
    return "".join(text for text, _ in pieces(rng, n_characters, memory))


def continuation(task: str, rng: random.Random, n_characters: int) -> Sample:
    """A held-out sample at the end of a training document of about n_characters."""
    memory: Memory = {}
    before = document(rng, n_characters, memory) + _gap(rng)
    sample = draw(task, rng, "held-out", memory)
    return Sample(task, before + sample.prompt, sample.answers, sample.ending, sample.combination)


def random_block(rng: random.Random, token_ids: list[int], n: int, split: Split) -> list[int]:
    """n random tokens to be repeated; the block itself is the combination."""
    while True:
        block = rng.choices(token_ids, k=n)
        if is_held_out("repeated block", tuple(map(str, block))) == (split == "held-out"):
            return block


def indirect_object(rng: random.Random, _memory: Memory) -> Sample:
    """When Mary and John went to the store, John gave a drink to -> Mary"""
    first, second = _people(rng, 2)
    giver, receiver = rng.sample((first, second), 2)
    prompt = rng.choice(INDIRECT_OBJECT).format(
        first=first, second=second, giver=giver, place=rng.choice(PLACES), thing=rng.choice(THINGS)
    )
    return Sample("indirect object", prompt, (" " + receiver,), ".", tuple(sorted((first, second))))


def fact(rng: random.Random, memory: Memory) -> Sample:
    """The capital of France is -> Paris, unless the document said otherwise"""
    relation = rng.choices(("capital", "language", "continent"), (3, 1, 1))[0]
    frame = rng.choice(FACT[relation])
    moved = [country for country, attribute in memory if attribute == relation]
    country = rng.choice(moved) if moved and rng.random() < 0.5 else rng.choice(list(COUNTRIES))
    answer = memory.get((country, relation), COUNTRIES[country][("capital", "language", "continent").index(relation)])
    return Sample("fact", frame.format(country=country), (" " + answer,), ".", (frame, country))


def overridden_fact(rng: random.Random, memory: Memory) -> Sample:
    """In this story the capital of France is Rome. The capital of France is -> Rome"""
    countries = [country for country in COUNTRIES if (country, "capital") not in memory]
    country = rng.choice(countries)
    city = rng.choice([other[0] for name, other in COUNTRIES.items() if name != country])
    said = rng.choice(OVERRIDE).format(country=country, city=city)
    question = rng.choice(FACT["capital"]).format(country=country)
    return Sample(
        "overridden fact",
        f"{said} {question}",
        (" " + city,),
        ".",
        (country, city),
        (((country, "capital"), city),),
    )


def binding(rng: random.Random, memory: Memory) -> Sample:
    """Anna has a red hat. Tom has a blue hat. The hat of Anna is -> red"""
    n = 2
    while True:
        owners = _people(rng, n)
        things = rng.sample(OWNED, n) if rng.random() < 0.2 else [rng.choice(OWNED)] * n
        if not any(key in memory for key in zip(owners, things, strict=True)):
            break
    colours = rng.sample(COLOURS, n)
    frame = rng.choice(HAS)
    said = [
        frame.format(owner=owner, colour=colour, thing=thing)
        for owner, colour, thing in zip(owners, colours, things, strict=True)
    ]
    asked = rng.randrange(n)
    question = rng.choice(HAS_QUESTION).format(owner=owners[asked], thing=things[asked])
    combinations = list(zip(owners, things, colours, strict=True))
    return Sample(
        "binding",
        " ".join((*said, question)),
        (" " + colours[asked],),
        ".",
        combinations[asked],
        tuple(((owner, thing), colour) for owner, thing, colour in combinations),
        tuple(c for i, c in enumerate(combinations) if i != asked),
    )


def agreement(rng: random.Random, _memory: Memory) -> Sample:
    """The keys to the cabinet -> are"""
    subject, *others = rng.sample(list(NOUNS), rng.choice((2, 2, 3)))
    plural = rng.random() < 0.5
    prompt = "The " + (NOUNS[subject] if plural else subject)
    for other in others:
        prompt += f" {rng.choice(PREPOSITIONS)} the {rng.choice((other, NOUNS[other]))}"
    verb = " are" if plural else " is"
    return Sample("agreement", prompt, (verb,), f" {rng.choice(ADJECTIVES)}.", (subject, others[0]))


def year(rng: random.Random, _memory: Memory) -> Sample:
    """The war lasted from the year 17 32 to the year 17 -> 33 or more"""
    century, start = rng.randint(11, 19), rng.randint(2, 89)
    prompt = rng.choice(YEAR).format(event=rng.choice(EVENTS), century=century, start=f"{start:02}")
    answers = tuple(f" {end:02}" for end in range(start + 1, 100))
    return Sample("year", prompt, answers, ".", (str(century), str(start)))


def pronoun(rng: random.Random, _memory: Memory) -> Sample:
    """Mary went home because -> she"""
    (name,) = _people(rng, 1)
    action = rng.choice(ACTIONS)
    answer = " she" if name in WOMEN else " he"
    prompt = f"{name} {action} {rng.choice(CONJUNCTIONS)}"
    return Sample("pronoun", prompt, (answer,), f" was {rng.choice(MOODS)}.", (name, action))


def _people(rng: random.Random, n: int) -> list[str]:
    people: list[str] = []
    while len(people) < n:
        name = rng.choice(rng.choices((COMMON_NAMES, RARE_NAMES), (0.95, 0.05))[0])
        if name not in people:
            people.append(name)
    return people


def _gap(rng: random.Random) -> str:
    return rng.choice((" ", " ", "\n"))


GENERATORS: dict[str, Callable[[random.Random, Memory], Sample]] = {
    "indirect object": indirect_object,
    "fact": fact,
    "overridden fact": overridden_fact,
    "binding": binding,
    "agreement": agreement,
    "year": year,
    "pronoun": pronoun,
}
TASKS = tuple(GENERATORS)
TASK_WEIGHTS = (3, 3, 2, 3, 1, 1, 1)

COMMON_WOMEN = (
    "Mary", "Anna", "Emma", "Sara", "Lucy", "Alice", "Fatima", "Aisha", "Mei", "Yuki", "Priya", "Leila", "Ines", "Olga",
    "Amara", "Zuri",
)  # fmt: skip
COMMON_MEN = (
    "John", "Tom", "James", "Paul", "David", "Omar", "Ali", "Wei", "Kenji", "Ravi", "Carlos", "Diego", "Ivan", "Kofi",
    "Lars", "Sam",
)  # fmt: skip
RARE_WOMEN = (
    "Alexandria", "Clementine", "Guadalupe", "Magdalena", "Parvati", "Shoshana", "Thandiwe", "Anastasia", "Philippa",
    "Rosalind", "Ngozi", "Ingeborg", "Marisol", "Xiaoling", "Yasmin", "Annabelle",
)  # fmt: skip
RARE_MEN = (
    "Bartholomew", "Maximilian", "Oluwaseun", "Nathaniel", "Muhammad", "Sebastian", "Thaddeus", "Chukwuemeka",
    "Vladimir", "Konstantin", "Raghunath", "Hiroshi", "Alexander", "Johannes", "Thomas", "Cuauhtemoc",
)  # fmt: skip
WOMEN = frozenset(COMMON_WOMEN + RARE_WOMEN)
COMMON_NAMES = COMMON_WOMEN + COMMON_MEN
RARE_NAMES = RARE_WOMEN + RARE_MEN

PLACES = (
    "store", "park", "school", "market", "garden", "station", "library", "office", "beach", "hospital", "temple",
    "mosque", "church", "restaurant", "museum", "harbour", "farm", "kitchen",
)  # fmt: skip
THINGS = (
    "a drink", "a book", "a ring", "a letter", "a flower", "a coin", "a basket", "an apple", "a kite", "a drum",
    "a lamp", "an orange", "a map", "a cake", "a ticket", "an umbrella",
)  # fmt: skip
INDIRECT_OBJECT = (
    "When {first} and {second} went to the {place}, {giver} gave {thing} to",
    "After {first} and {second} went to the {place}, {giver} gave {thing} to",
    "While {first} and {second} were at the {place}, {giver} passed {thing} to",
    "Then {first} and {second} went to the {place}, and {giver} gave {thing} to",
)

COUNTRIES = {  # country: capital, language, continent
    "France": ("Paris", "French", "Europe"),
    "Italy": ("Rome", "Italian", "Europe"),
    "Spain": ("Madrid", "Spanish", "Europe"),
    "Germany": ("Berlin", "German", "Europe"),
    "England": ("London", "English", "Europe"),
    "Poland": ("Warsaw", "Polish", "Europe"),
    "Greece": ("Athens", "Greek", "Europe"),
    "Norway": ("Oslo", "Norwegian", "Europe"),
    "Sweden": ("Stockholm", "Swedish", "Europe"),
    "Finland": ("Helsinki", "Finnish", "Europe"),
    "Portugal": ("Lisbon", "Portuguese", "Europe"),
    "Austria": ("Vienna", "German", "Europe"),
    "Hungary": ("Budapest", "Hungarian", "Europe"),
    "Japan": ("Tokyo", "Japanese", "Asia"),
    "China": ("Beijing", "Chinese", "Asia"),
    "Thailand": ("Bangkok", "Thai", "Asia"),
    "Vietnam": ("Hanoi", "Vietnamese", "Asia"),
    "Nepal": ("Kathmandu", "Nepali", "Asia"),
    "Iran": ("Tehran", "Persian", "Asia"),
    "Iraq": ("Baghdad", "Arabic", "Asia"),
    "Jordan": ("Amman", "Arabic", "Asia"),
    "Qatar": ("Doha", "Arabic", "Asia"),
    "Egypt": ("Cairo", "Arabic", "Africa"),
    "Morocco": ("Rabat", "Arabic", "Africa"),
    "Kenya": ("Nairobi", "Swahili", "Africa"),
    "Ghana": ("Accra", "English", "Africa"),
    "Senegal": ("Dakar", "French", "Africa"),
    "Angola": ("Luanda", "Portuguese", "Africa"),
    "Peru": ("Lima", "Spanish", "America"),
    "Chile": ("Santiago", "Spanish", "America"),
    "Cuba": ("Havana", "Spanish", "America"),
    "Canada": ("Ottawa", "English", "America"),
}
FACT = {
    "capital": (
        "The capital of {country} is",
        "The capital city of {country} is",
        "In {country}, the capital is",
    ),
    "language": (
        "People in {country} speak",
        "The language of {country} is",
    ),
    "continent": (
        "The country {country} is in",
        "On the map, {country} is in",
    ),
}
OVERRIDE = (
    "In this story the capital of {country} is {city}.",
    "Suppose that the capital of {country} is {city}.",
    "In this book the capital of {country} has moved to {city}.",
)

OWNED = ("hat", "coat", "bag", "car", "boat", "cup", "bike", "chair")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink")
HAS = (
    "{owner} has a {colour} {thing}.",
    "{owner} bought a {colour} {thing}.",
)
HAS_QUESTION = ("The {thing} of {owner} is",)

NOUNS = {
    "key": "keys", "cabinet": "cabinets", "boy": "boys", "girl": "girls", "picture": "pictures", "tree": "trees",
    "table": "tables", "window": "windows", "box": "boxes", "child": "children", "woman": "women", "man": "men",
    "dog": "dogs", "bird": "birds", "river": "rivers", "road": "roads", "teacher": "teachers", "letter": "letters",
}  # fmt: skip
PREPOSITIONS = ("to", "near", "behind", "with", "by")
ADJECTIVES = ("old", "new", "small", "large", "lost", "beautiful", "quiet", "famous")

EVENTS = ("war", "siege", "journey", "project", "truce", "drought", "reign", "voyage", "treaty", "festival")
YEAR = (
    "The {event} lasted from the year {century} {start} to the year {century}",
    "The {event} began in the year {century} {start} and ended in the year {century}",
    "From the year {century} {start} the {event} went on until the year {century}",
)

ACTIONS = (
    "went home", "went to bed", "stayed at home", "called the doctor", "opened the window", "read a book",
    "left early", "slept all day", "laughed", "cried", "ran to the station", "sang a song", "closed the door",
    "cooked dinner",
)  # fmt: skip
CONJUNCTIONS = ("because", "when", "while", "since")
MOODS = ("tired", "happy", "hungry", "sad", "cold", "late", "bored", "ill", "alone")
