"""Little English stories told from plots: names, things, colours, places and feelings that stay what they were.

A plot is a list of sentences, each in several wordings; a cast says who and what. Where a word can be known from what
came before it stands a mark, `<thing>`, that no reader sees: there the model can be asked. The same choices told with
another cast give a text of the same shape with another answer.

A cast is either a training one or a held-out one, decided by a hash of three of its words and nothing else.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.bundled.grammar import Split, is_held_out

Cast = dict[str, str]

TASKS = ("friend", "hero", "thing", "colour", "spot", "place", "food", "animal", "pronoun", "owner", "sound")


@dataclass(frozen=True)
class Question:
    """A story up to a word that can be known, and the same story about somebody or something else."""

    task: str
    prompt: str
    answer: str  # a word, with the space before it
    other_prompt: str
    other_answer: str


def cast(rng: random.Random, split: Split) -> Cast:
    """Who and what a story is about; hero, friend and thing together belong to the split."""
    while True:
        hero, friend = rng.sample(GIRLS + BOYS, 2)
        thing, other_thing = rng.sample(THINGS, 2)
        if is_held_out("story", (hero, friend, thing)) == (split == "held-out"):
            break
    colour, other_colour = rng.sample(COLOURS, 2)
    spot, other_spot = rng.sample(SPOTS, 2)
    animal, sound = rng.choice(list(ANIMALS.items()))
    food, other_food = rng.sample(FOODS, 2)
    return with_pronouns({
        "hero": hero, "friend": friend, "thing": thing, "thing2": other_thing,
        "colour": colour, "colour2": other_colour,
        "spot": spot, "spot2": other_spot, "place": rng.choice(PLACES), "food": food, "food2": other_food,
        "animal": animal, "sound": sound, "weather": rng.choice(WEATHERS), "skill": rng.choice(SKILLS),
        "fear": rng.choice(FEARS), "parent": rng.choice(PARENTS), "kind": rng.choice(KINDS), "day": rng.choice(DAYS),
    })  # fmt: skip


def with_pronouns(words: Cast) -> Cast:
    """The cast with `he`, `his`, `him` of hero and of friend (`b...`), as each of them is called."""
    found = dict(words)
    for prefix, name in (("", words["hero"]), ("b", words["friend"])):
        he, his, him, child = ("she", "her", "her", "girl") if name in GIRLS else ("he", "his", "him", "boy")
        found |= {prefix + "he": he, prefix + "his": his, prefix + "him": him, prefix + "child": child}
        found |= {prefix + "He": he.title(), prefix + "His": his.title()}
    return found


def marked(plot: str, words: Cast, seed: int) -> str:
    """A plot told with a cast; the seed chooses the wordings, so that two casts can be told alike."""
    rng = random.Random(seed)
    said = []
    for wordings in PLOTS[plot]:
        share = 1.0
        if isinstance(wordings, tuple):  # a sentence that is told only now and then
            share, wordings = wordings
        told, choice = rng.random() < share, rng.choice(wordings.strip().split("\n"))
        if told:
            said.append(choice.strip().format(**words))
    return " ".join(said)


def plain(text: str) -> str:
    """The text without its marks."""
    return re.sub(r"<\w+>", "", text)


def marked_stories(rng: random.Random, split: Split = "train") -> Iterator[str]:
    """Stories without end, with their marks."""
    while True:
        yield marked(rng.choices(list(PLOTS), WEIGHTS)[0], cast(rng, split), rng.getrandbits(32))


def stories(rng: random.Random, split: Split = "train") -> Iterator[str]:
    """Stories without end."""
    yield from map(plain, marked_stories(rng, split))


def question(task: str, rng: random.Random, split: Split = "held-out") -> Question:
    """A story up to a word of this kind, as long told with either cast, in words, with another answer."""
    while True:
        plot, words, seed = rng.choice(list(PLOTS)), cast(rng, split), rng.getrandbits(32)
        told = [marked(plot, each, seed) for each in (words, _turned(task, words, rng))]
        one, other = (list(re.finditer(f"<{task}>", each)) for each in told)
        if not one or len(one) != len(other):
            continue
        which = rng.randrange(len(one))
        parts = [(plain(m.string[: m.start()]), m.string[m.end() :]) for m in (one[which], other[which])]
        (prompt, rest), (other_prompt, other_rest) = parts
        answer, other_answer = (re.match(r" ?\w+", text) for text in (rest, other_rest))
        alike = prompt.count(" ") == other_prompt.count(" ") and prompt != other_prompt  # else nothing told the answer
        if answer and other_answer and answer[0] != other_answer[0] and alike:
            return Question(task, prompt, answer[0], other_prompt, other_answer[0])


def _turned(task: str, words: Cast, rng: random.Random) -> Cast:
    """Another cast whose answer is another one: the same words the other way round where two are told."""
    new = dict(words)
    if task in ("friend", "hero", "owner"):
        new["hero"], new["friend"] = words["friend"], words["hero"]
    elif task == "pronoun":
        new["hero"] = rng.choice([n for n in (BOYS if words["hero"] in GIRLS else GIRLS) if n != words["friend"]])
    elif task in ("thing", "colour", "spot", "food"):
        new[task], new[task + "2"] = words[task + "2"], words[task]
    elif task == "place":
        new["place"] = rng.choice([p for p in PLACES if p != words["place"]])
    elif task in ("animal", "sound"):
        new["animal"], new["sound"] = rng.choice([a for a in ANIMALS.items() if a[0] != words["animal"]])
    return with_pronouns(new)


GIRLS = ("Lily", "Mia", "Nora", "Ada", "Zoe", "Ruby", "Ella", "Tara", "Mina", "Sana")
BOYS = ("Ben", "Tim", "Max", "Leo", "Finn", "Hugo", "Oscar", "Rafi", "Jonas", "Amir")
THINGS = (
    "ball", "kite", "hat", "book", "doll", "drum", "ring", "boat", "scarf", "cup", "coat", "bag", "train", "lamp",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "pink")
SPOTS = (
    "under the bed", "behind the door", "in the box", "on the shelf", "near the tree", "under the table",
    "behind the chair", "in the basket", "on the roof", "near the river", "in the grass", "behind the wall",
)  # fmt: skip
PLACES = ("park", "garden", "school", "beach", "forest", "market", "farm", "library", "lake", "village")
ANIMALS = {
    "dog": "Woof", "cat": "Meow", "duck": "Quack", "cow": "Moo", "sheep": "Baa", "bird": "Tweet", "frog": "Croak",
    "mouse": "Squeak",
}  # fmt: skip
FOODS = ("cake", "soup", "bread", "cheese", "rice", "milk", "honey", "fruit")
WEATHERS = ("rain", "snow", "fog", "wind")
SKILLS = ("swim", "read", "sing", "dance", "draw", "cook")
FEARS = ("the dark", "the storm", "the water", "the big dog", "the loud noise")
PARENTS = ("mother", "father", "grandmother", "teacher", "uncle")
KINDS = ("little", "kind", "brave", "clever", "quiet", "happy")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

OPENING = """
    Once upon a time there was a {kind} {child} named {hero}.
    Once there was a {kind} {child} called {hero}.
    There was once a {kind} {child} whose name was {hero}.
    {hero} was a {kind} {child} who lived near the {place}.
    One day a {kind} {child} named {hero} went to the {place}.
    One {day} {hero} woke up early.
    It was {day} and {hero} had nothing to do.
    """
BOTH = """
    {hero} and {friend} went to the {place}.
    One day {hero} and {friend} were at the {place}.
    On {day} {hero} and {friend} met at the {place}.
    {hero} and {friend} were good friends. They liked to play at the {place}.
    {hero} had a friend named {friend}. They often went to the {place}.
    """
FRIENDS = """
    {He} had a friend named {friend}.
    {His} best friend was {friend}.
    {He} lived next door to {friend}.
    {He} often played with {friend}.
    """
HAPPY = """
    They were both very happy.
    {hero} smiled and was happy again.
    After that<pronoun> {he} was happy all day.
    From that day on<pronoun> {he} and {friend} were the best of friends.
    {hero} laughed, and {friend} laughed too.
    It was the best day of the week.
    In the evening they went home and told {hero}'s {parent} everything.
    """
LESSON = """
    {hero} learned that it is good to share.
    And {hero} never forgot what<friend> {friend} had done.
    "You are a good friend," said {hero} to<friend> {friend}.
    {hero} said thank you to<friend> {friend}.
    The end.
    """

# A line is a wording; (share, lines) is a sentence that comes only in that share of the stories.
Plot = list[str | tuple[float, str]]
PLOTS: dict[str, Plot] = {
    "lost": [
        OPENING,
        FRIENDS,
        """
        {hero} had a {colour} {thing} and took it everywhere.
        {He} loved {his} {colour} {thing} more than anything.
        For {his} birthday {he} got a {colour} {thing}.
        """,
        """
        One day the<thing> {thing} was gone.
        But one morning {he} could not find the<thing> {thing}.
        Then {he} lost the<thing> {thing} at the {place}.
        """,
        (
            0.7,
            """
        {hero} was very sad. "Where is my<thing> {thing}?" {he} cried.
        {hero} began to cry because<pronoun> {he} was sad.
        {He} looked {spot2}, but the<thing> {thing} was not there.
        """,
        ),
        """
        {friend} said, "I will help you look for the<thing> {thing}."
        {friend} heard that and came to help<hero> {hero}.
        {hero} asked {friend}, "Have you seen my<colour> {colour} {thing}?"
        """,
        """
        They looked everywhere, and at last they found the<thing> {thing} {spot}.
        {friend} looked {spot}, and there was the<colour> {colour} {thing}!
        A {animal} was sitting {spot} and under the<animal> {animal} lay the {thing}.
        """,
        HAPPY,
        (0.6, LESSON),
    ],
    "gift": [
        BOTH,
        """
        It was {hero}'s birthday, and {friend} had a gift for<hero> {hero}.
        {hero} wanted a {colour} {thing}, and<friend> {friend} knew it.
        {friend} had made something for<hero> {hero}.
        """,
        """
        In the box there was a {colour} {thing}.
        "Open it," said {friend}. It was a {colour} {thing}.
        {friend} gave a {colour} {thing} to<hero> {hero}.
        """,
        """
        "What a beautiful<thing> {thing}!" said {hero}. "Thank you,<friend> {friend}."
        {hero} looked at the<thing> {thing} and smiled. "Thank you,<friend> {friend}!"
        "I always wanted a<colour> {colour} {thing}," said {hero}.
        """,
        (
            0.5,
            """
        Then they ate {food} together. The<food> {food} was very good.
        {hero} put the<thing> {thing} {spot}.
        {hero} showed the<thing> {thing} to {his} {parent}.
        """,
        ),
        HAPPY,
    ],
    "share": [
        BOTH,
        """
        {hero} had some {food}, but {friend} had nothing to eat.
        {hero} brought {food} and {friend} brought {food2}.
        {friend} was hungry, and {hero} had some {food}.
        """,
        """
        "Do you want some of my<food> {food}?" asked {hero}.
        {hero} gave half of the<food> {food} to<friend> {friend}.
        {friend} looked at the<food> {food}. "You can have some," said<hero> {hero}.
        """,
        """
        {friend} ate the<food> {food} and was not hungry any more.
        They sat {spot} and ate the<food> {food}.
        The<food> {food} was sweet and warm.
        """,
        (
            0.5,
            """
        A {animal} came and wanted some<food> {food} too. "{sound}," said the<animal> {animal}.
        Then a {animal} came. "<sound>{sound}!" said the {animal}.
        """,
        ),
        HAPPY,
        (0.6, LESSON),
    ],
    "hide": [
        BOTH,
        """
        {hero} hid the {thing} {spot}, and {friend} had to find it.
        They played a game. {hero} put the {colour} {thing} {spot}.
        While {friend} was away, {hero} hid {his} {thing} {spot}.
        """,
        """
        {friend} looked {spot2}, but it was not there.
        First {friend} looked {spot2}. There was no<thing> {thing}.
        "Is it {spot2}?" asked {friend}. "No," said<hero> {hero}.
        """,
        """
        Then {bhe} looked<spot> {spot}, and there it was.
        At last {bhe} found the<thing> {thing}<spot> {spot}.
        "It is<spot> {spot}!" said {hero}, and {friend} ran to get the<thing> {thing}.
        """,
        """
        "You found it," said {hero}. "Now you can hide the<thing> {thing}."
        "That was a good place," said<friend> {friend}.
        {hero} laughed, and {friend} gave the<thing> {thing} back to<hero> {hero}.
        """,
        HAPPY,
    ],
    "animal": [
        OPENING,
        """
        One day {he} found a small {animal} {spot}.
        At the {place} {he} saw a {animal}. It was cold and hungry.
        On the way to the {place} {he} met a {animal}.
        """,
        """
        "<sound>{sound}," said the {animal}.
        The {animal} looked at {him} and said, "<sound>{sound}!"
        "Do not be afraid," said {hero} to the<animal> {animal}.
        """,
        """
        {hero} gave some {food} to the<animal> {animal}. The<animal> {animal} ate all of the<food> {food}.
        {hero} took the<animal> {animal} home and gave it some {food}.
        {He} asked {his} {parent}, "Can I keep the<animal> {animal}?"
        """,
        """
        {His} {parent} said yes, and the<animal> {animal} slept {spot}.
        The<animal> {animal} was not hungry any more.
        {hero} called the<animal> {animal} {friend}. "Come here,<friend> {friend}!" said {hero}.
        """,
        """
        Every day<pronoun> {he} played with the<animal> {animal} at the<place> {place}.
        {hero} and the<animal> {animal} were friends for ever.
        And the {animal} said, "<sound>{sound}!"
        """,
    ],
    "weather": [
        """
        {hero} and {friend} wanted to go to the {place}, but there was a lot of {weather}.
        On {day} there was {weather} all day. {hero} wanted to play at the {place}.
        "Look at the {weather}!" said {hero}. {He} wanted to go to the {place} with {friend}.
        """,
        """
        {His} {parent} said, "You can not go to the<place> {place} today."
        "Put on your coat before you go to the<place> {place}," said {his} {parent}.
        {friend} did not like the {weather} and stayed at home.
        """,
        """
        So they played inside with a {colour} {thing}.
        So {hero} took {his} {colour} {thing} and played {spot}.
        Then {friend} came with a {thing} and they played together.
        """,
        """
        After some time {hero} gave the<thing> {thing} to<friend> {friend}.
        {friend} liked the<thing> {thing} very much.
        They made {food} and sat {spot}. The<food> {food} was warm.
        """,
        """
        On the next day they went to the<place> {place} at last.
        In the evening the {weather} was over and they ran to the<place> {place}.
        """,
        HAPPY,
    ],
    "afraid": [
        OPENING,
        """
        {hero} was afraid of {fear}.
        At night {hero} thought of {fear} and was afraid.
        """,
        """
        {friend} said, "I was afraid of {fear} too."
        "Why are you afraid?" asked {friend}. "Because of {fear}," said<hero> {hero}.
        {His} {parent} said, "Take your {thing} with you."
        """,
        """
        {friend} held {his} hand and they went to the {place} together.
        Then {hero} took {his} {colour} {thing} and went to the {place}.
        """,
        """
        At the<place> {place} they saw that there was nothing to be afraid of.
        Nothing happened at the<place> {place}, and {hero} was not afraid any more.
        """,
        """
        "You are very brave," said<friend> {friend}.
        {hero} was brave now, and<pronoun> {he} was proud.
        """,
        (0.6, LESSON),
    ],
    "learn": [
        OPENING,
        """
        {hero} wanted to learn to {skill}, but<pronoun> {he} could not {skill} yet.
        {friend} could {skill} very well, but {hero} could not.
        """,
        """
        "Will you show me?" asked {hero}. "Yes," said<friend> {friend}.
        {hero} asked {his} {parent} for help, and {his} {parent} helped.
        {friend} said, "I will help you,<hero> {hero}."
        """,
        """
        On {day} they went to the {place} and tried again and again.
        The first time it was hard. The second time it was better.
        {hero} tried every day at the {place}.
        """,
        """
        In the end {hero} could {skill} as well as<friend> {friend}.
        At last<pronoun> {he} could {skill}. "Look at me!" said<hero> {hero}.
        """,
        HAPPY,
    ],
    "broken": [
        BOTH,
        """
        {friend} had a {colour} {thing}, and {hero} wanted to play with it.
        {friend} gave the {colour} {thing} to {hero}.
        """,
        """
        But {hero} fell and the<thing> {thing} broke.
        Then the {thing} fell into the water, and the<thing> {thing} was broken.
        """,
        """
        "I am sorry, I broke your<thing> {thing}," said {hero} to<friend> {friend}.
        {hero} was sad and told<friend> {friend} what had happened.
        {friend} was angry because {his} friend had broken the<thing> {thing}.
        """,
        """
        "It is only a<thing> {thing}," said<friend> {friend}.
        They took the {thing} to {hero}'s {parent}, who made the<thing> {thing} new again.
        {hero} gave {his} own {thing2} to {friend}, and {friend} was glad to have the<thing> {thing2}.
        """,
        HAPPY,
        (0.4, LESSON),
    ],
    "two things": [
        BOTH,
        """
        {hero} had a {colour} {thing} and {friend} had a {colour2} {thing}.
        {hero} bought a {colour} {thing} and {friend} bought a {colour2} {thing}.
        """,
        """
        They put them {spot} and went to eat {food}.
        The wind came and took both away. A {animal} brought them back.
        Then they had to go home.
        """,
        """
        {hero} took the<colour> {colour} {thing} and {friend} took the<colour> {colour2} {thing}.
        The<colour> {colour} one belonged to<owner> {hero}.
        The {colour2} one belonged to<owner> {friend}. The {colour} one belonged to<owner> {hero}.
        "The {colour} {thing} is mine," said<owner> {hero}. "And the {colour2} one is mine," said<owner> {friend}.
        "Whose is the {colour2} {thing}?" asked {his} {parent}. "It is mine," said<owner> {friend}.
        """,
        HAPPY,
    ],
    "giving": [
        """
        When {hero} and {friend} went to the {place}, {friend} gave a {thing} to<hero> {hero}.
        When {friend} and {hero} went to the {place}, {friend} gave a {thing} to<hero> {hero}.
        After {hero} and {friend} came to the {place}, {friend} showed the {thing} to<hero> {hero}.
        Then {friend} and {hero} sat {spot}, and {friend} gave some {food} to<hero> {hero}.
        """,
        """
        "Thank you," said<hero> {hero}.
        {hero} was happy and thanked<friend> {friend}.
        """,
        (0.6, HAPPY),
    ],
    "farm": [
        """
        {hero} went to the farm with {his} {parent}.
        One day {hero} and {friend} were on a farm.
        """,
        """
        The dog said, "Woof!" The cow said, "Moo!" And the duck said, "Quack!"
        The cat said, "Meow!" The sheep said, "Baa!" And the frog said, "Croak!"
        First they saw a {animal}. The {animal} said, "<sound>{sound}!"
        """,
        """
        "Which one do you like best?" asked {his} {parent}. "I like the {animal}," said {hero}.
        {hero} liked the {animal} best. "<sound>{sound}!" said the {animal}.
        """,
        """
        {He} gave some {food} to the<animal> {animal}, and the<animal> {animal} ate the<food> {food}.
        The<animal> {animal} ran to {him}, and<pronoun> {he} laughed.
        """,
        (
            0.7,
            """
        Then it was time to go home. "Good night,<animal> {animal}," said {hero}.
        {hero} wanted to take the<animal> {animal} home, but {his} {parent} said no.
        """,
        ),
    ],
}
WEIGHTS = (3, 3, 2, 3, 3, 2, 2, 2, 2, 2, 2, 1)
