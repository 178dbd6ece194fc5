"""From shards to batches on the training device.

Window: the unit of the epoch plan (`planning.window.Window`): a few dozen bags whose rows are mixed and cut into a
fixed number of batches. A window is also the unit of reading: one Ray task, if Ray is used, reads all of its row
groups.

Batch: the input of one training step on one rank: images as uint8 pixels, labels and row ids (`window_reader.Batch`). A
draft is a batch without pixels (`window_reader.Draft`).

Prefetch: decode batches on threads before the training step asks for them (`prefetch`). `loader.ahead` is the number of
batches; `loader.windows` is the number of windows that Ray tasks read ahead.

Decoded cache: a folder of raw pixels of the shards' images, from which batches are cut without decoding JPEGs
(`decoded_cache.DecodedCache`).
"""
