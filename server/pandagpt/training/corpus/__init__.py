"""What the tiny language model reads: scenes in words, questions, facts and small talk."""
