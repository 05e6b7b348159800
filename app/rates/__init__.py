"""How often a caller may ask: token buckets, in this process or shared by several."""
