"""The nouns of the house, how they are drawn and stored. Imports nothing of ours."""
