"""One engine for tables of any size: blocks of rows → finished parts → one table.

The way of the rows:

1. ``io.readers``: inputs → items (rows of tables, files, members, frames), fetched but not parsed.
2. ``blocks``: items → blocks of as many, numbered through all inputs; a shard has every N-th.
3. ``computing``: the rows of a block → columns of featurizers (``predictions``: those of a saved
   model), and a ``report`` of what failed.
4. ``parts``: a block's table is one file of a folder, with a line in its manifest. What is there is
   not computed again.
5. ``joining``: all parts → the table that was asked for.

``running`` does this in one process and ``cluster`` on Dask; ``locks`` keep two processes from one
output. ``frames`` gives columns to the frames of other engines.
"""
