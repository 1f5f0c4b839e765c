"""A linear head on frozen features: fitted in closed form from masks, tags, captions and names together."""
