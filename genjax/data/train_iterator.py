"""The stream of training batches: read ahead, resumed from any position. What it is a stream of, see `loader`."""

from collections.abc import Mapping

import grain
from absl import flags

from genjax.core.arguments import named
from genjax.data.workers import Watched, end_with_parent
from genjax.typing import Batch

IN_CONFIG = named("config.data.", data="config.", seed="config.")
"""Where the arguments of errors stand: the loader and its stream alone are made from `config.data`."""


class TrainIterator(grain.DatasetIterator):
    """Batches of a random-access dataset from any position on, read ahead by threads or by worker processes.

    grain's own state depends on the number of workers; this one is the position alone. Closing stops all
    threads and workers. It's also a context manager.
    """

    def __init__(self, dataset: grain.MapDataset, num_workers: int = 0, read_threads: int = 2):
        super().__init__()
        self._dataset, self._num_workers = dataset, num_workers
        self._options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
        self._position = 0
        self._inner: grain.DatasetIterator | Watched | None = None

    @IN_CONFIG
    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            WorkerDied: if a worker process is dead; after `set_state` new ones start.
            ValueError: if this was closed.
        """
        if self._closed:
            raise ValueError("this iterator was closed")
        self.start_prefetch()
        batch = next(self._inner)
        self._position += 1
        return batch

    def start_prefetch(self) -> None:
        """Start to read ahead, without waiting for a batch."""
        if self._inner is None:
            ahead = self._dataset[self._position :].to_iter_dataset(self._options)
            if self._num_workers:
                # grain's workers read absl flags, which nobody has parsed outside an absl program.
                if not flags.FLAGS.is_parsed():
                    flags.FLAGS.mark_as_parsed()
                options = grain.MultiprocessingOptions(num_workers=self._num_workers)
                self._inner = Watched(iter(ahead.mp_prefetch(options, worker_init_fn=end_with_parent)))
            else:
                self._inner = iter(ahead)

    def get_state(self) -> dict[str, int]:
        """The number of batches drawn, as a dict that JSON can hold."""
        return {"next_index": self._position}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Go on as if `state["next_index"]` batches had been drawn."""
        position = int(state["next_index"])
        if position < 0:
            raise ValueError(f"next_index must be 0 or more, not {position}")
        self._stop()
        self._position = position

    def close(self) -> None:
        """Stop reading ahead and end all threads and workers; may be called twice."""
        self._stop()
        self._closed = True

    def _stop(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def __enter__(self) -> "TrainIterator":
        return self

    def __exit__(self, *_) -> None:
        self.close()
