"""git's own protocol, served from the rows of the catalog: there is no repository on any disk.

Objects are made when they are asked for: trees, commits and tags are stored so that hashing them
gives their ids, and a file's blob is its bytes or its LFS pointer.
"""
