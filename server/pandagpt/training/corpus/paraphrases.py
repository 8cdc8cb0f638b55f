"""The many ways to ask each question about one thing.

`{thing}` may stand for its name and `{medium}` for what shows it. Only text; the answers to
these are made in `kinds`.
"""

_TEXT = """
name:
    What is this? | What is it? | What's this? | What is that? | Name this. | Tell me what this
    is. | Can you tell what this is? | Which thing is this? | Identify this. | What is the
    {medium} of? | What is this {medium}? | What does the {medium} show? | What do you think this
    is? | What have I sent you? | Do you know what this is? | What kind of object is this? | Can
    you identify what this {medium} is? | Guess what it is.
see:
    What do you see? | What can you see? | What is in the {medium}? | What is here? | What do you
    see in this {medium}? | Tell me what you see. | What is shown here? | What can you recognise?
    | What can you recognize in this {medium}? | What is visible? | Look at the {medium}. What is
    there? | What is there? | Which things are there? | Name everything you see. | List what is in
    the {medium}.
describe:
    Describe this. | Describe the {medium}. | Describe it in one sentence. | Give me a caption. |
    Caption this. | Write a caption for this {medium}. | What is going on here? | Can you describe
    what you see? | Please describe it. | Describe this {medium} in detail. | Give a short
    description. | What is happening?
colour:
    What colour is it? | What color is it? | What colour is this? | What color is the {thing}? |
    What colour is the {thing}? | Which color is it? | Which colour does the {thing} have? | Tell
    me its colour. | Name the color. | What is the colour of the {thing}? | What's its color? | In
    which colour is it? | What is its color? | Can you tell me the colour?
size:
    How big is it? | What size is it? | Is it big or small? | Is it small or large? | Is the
    {thing} small or big? | How large is the {thing}? | Tell me its size. | What is its size? |
    Which size does it have? | What size is the {thing}? | Is the {thing} large or small? | How
    big is the {thing}?
where:
    Where is it? | Where is the {thing}? | Which side is it on? | Where do you see it? | What is
    its position? | In which part of the {medium} is it? | Where is it placed? | Tell me where it
    is. | Where in the {medium} is the {thing}? | Where does it stand? | Where can you see the
    {thing}? | What is the position of the {thing}?
hear:
    What can you hear? | What do you hear? | What is this sound? | Listen. What is it? | Which
    sound is this? | What am I hearing? | What makes this sound? | Tell me what you hear. | What
    is that noise? | Who makes this noise? | What can be heard? | What do you hear in the
    {medium}?
sound:
    What sound does it make? | What noise does it make? | What does it say? | How does it sound? |
    What sound does a {thing} make? | Which sound does it make? | What does the {thing} sound
    like? | What would I hear from it? | Imitate its sound. | What noise does the {thing} make?
made:
    What is it made of? | What material is it? | What is the {thing} made of? | What does it
    consist of? | Which material is it made of? | What is it built from? | What is a {thing} made
    of? | Of what is it made? | What are its materials?
use:
    What is it good for? | What is it used for? | What can you do with it? | Why is it useful? |
    What is the {thing} good for? | What use is it? | How is it useful? | What is the use of a
    {thing}? | What do people use it for?
heat:
    Is it hot or cold? | How warm is it? | What is its temperature? | How hot is it? | Is it warm
    or cold? | Is the {thing} hot or cold? | What temperature is it? | How does it feel to the
    touch, hot or cold? | Is it cold or hot?
move:
    How does it move? | What is moving? | What moves here? | How does the {thing} move? | What
    motion is this? | Describe its motion. | What is it doing? | Which movement do you feel? |
    What is moving here? | What does it do when it moves?
home:
    Where can I find one? | Where is it usually found? | Where would I find it? | Where can I find
    a {thing}? | Where are such things found? | Where does it belong? | In which place would you
    find it? | Where do you usually find a {thing}?
fact:
    Tell me a fun fact. | Tell me something about it. | Tell me a fact about it. | Do you know
    something interesting about it? | What should I know about it? | Give me a fact. | What is
    special about it? | Tell me a fun fact about the {thing}.
story:
    Tell me a short story about it. | Tell me a story. | Write a story about it. | Make up a
    little story. | Tell me a story about the {thing}. | Write a short story. | Can you tell a
    story about this? | Invent a story about the {thing}.
alive:
    Is it alive? | Is it a living thing? | Is the {thing} alive? | Does it live? | Is this a
    living being? | Is it living? | Can it breathe?
kind:
    What kind of thing is it? | What sort of thing is this? | What category is it? | What is a
    {thing}? | What kind of thing is the {thing}? | How would you class it?
danger:
    Is it dangerous? | Should I be afraid of it? | Can it hurt me? | Is it safe? | Is the {thing}
    dangerous? | Do I need to be careful?
word:
    In one word, what is it? | Answer in one word: what is this? | One word: what is it? | Name it
    in a single word. | Just the word: what is in the {medium}?
letter:
    What letter does it begin with? | Which letter does its name start with? | What is its first
    letter? | With which letter does the word start?
both:
    What is it and what colour is it? | What is this, and in which color? | Tell me what it is and
    its colour. | Name the thing and its color.
"""


def _parse(text: str) -> dict[str, tuple[str, ...]]:
    """A name and a colon open a block; bars part its questions."""
    asks: dict[str, str] = {}
    name = ""
    for line in text.strip().splitlines():
        if line.startswith(" "):
            asks[name] += f" {line.strip()}"
        else:
            name = line.removesuffix(":")
            asks[name] = ""
    return {name: tuple(a.strip() for a in block.split("|")) for name, block in asks.items()}


PARAPHRASES = _parse(_TEXT)
