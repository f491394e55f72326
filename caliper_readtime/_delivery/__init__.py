"""How accepted time leaves: claims, envelopes, and the verbs that send."""
