"""The places a head may look at, by name; free of torch and of models."""

ROLES = {
    "first": "the first token",
    "self": "the query itself",
    "previous": "the token before",
    "duplicate": "earlier tokens that are the same",
    "induction": "tokens that came after those",
    "word": "earlier tokens of the same word",
}
