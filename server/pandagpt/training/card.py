"""The bundled model's card; `evaluation` fills in the tables between the markers."""

from pandagpt.training.evaluation import BEGIN, END

MODEL_CARD = f"""# pandagpt-tiny

A whole PandaGPT in miniature, trained from nothing by this repository (`make tiny`): six
ImageBind-type encoders, one linear projection, LoRA, and a LLaMA-type language model. It lives in
a toy world of twenty things (bell, drum, bird, dog, cat, car, train, rain, clock, kettle, siren,
guitar, frog, bee, wave, fire, helicopter, horse, boat, phone), eight colours, two sizes and five
places, drawn and played by `server/pandagpt/training/world`. It knows nothing else: a photograph
of a real dog means nothing to it. Its licence is the repository's, Apache-2.0; no other weights
and no collected data went in.

## What it is for

To run the server, its tests and its examples on any machine in seconds, with true answers, on the
same code paths as the published checkpoints; and to show what PandaGPT showed: a language model
that was instructed on **pictures and text alone** answers about sounds, motions, heat, depth and
films, because their encoders were bound to the pictures' embeddings.

## How it was trained

| stage | learns | from |
| --- | --- | --- |
| A | vision and text encoders | pictures with captions, contrastively |
| B | audio, depth, thermal and IMU encoders | each bound to frozen embeddings of pictures of the same things |
| C | language model (4 layers, width 192, 1,280 pieces) | dialogues about scenes given in words; answers only |
| D | projection and LoRA (rank 16) | pictures and text; encoders and language model frozen |

In stage C a scene stands where a medium will stand later, either as a phrase or as the weighted sum
of its words' vectors in one position. It is still text, and it teaches the language model to read
one vector that holds several facts, or two things at once. In stage D the embeddings get Gaussian
noise, some are averages of several pictures (which leaves out what differs between them), and
some lessons hold two pictures, added up to one vector or each in its own place. Sound, video,
depth, heat and motion never occur in it, and the question types marked "held out" are never asked.

## What it reaches

Measured by `pandagpt eval --model tiny` through the serving engine, greedily, on files of
renderings that training never saw (from the same generators: nothing here is out of
distribution). The share of right answers; in brackets how many were asked. A name counts as right
if no other thing is named; for looks that a sense cannot perceive, such as the colour of a
sound, right is to say that it cannot tell.

{BEGIN}
{END}

## Limits

- Twenty things, drawn as flat polygons, and their synthetic sounds and motions. Anything else is
  taken for one of them; there is no "I do not know this thing".
- Two things added up to one vector (`fusion: sum`, the reference's way) do not tell which look
  belongs to which thing. The bundle's default is `interleave`, one slot for each medium.
- It knows the questions of its corpus in many wordings, and little beyond them.
"""
