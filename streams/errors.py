"""What can go wrong with a stream; each error says whether trying again can help."""

from uuid import UUID


class StreamError(Exception):
    """Base of this app's errors. `permanent`: trying the same again cannot help."""

    permanent = False


class MoveRefused(StreamError):
    """A run's present status does not lead to the one asked for."""

    permanent = True

    def __init__(self, run_id: UUID, to: str) -> None:
        super().__init__(f"run {run_id} cannot become {to} from where it is")
        self.run_id, self.to = run_id, to


class StaleEpoch(StreamError):
    """Somebody else holds the run now: what we read may not be written."""

    permanent = True

    def __init__(self, run_id: UUID, epoch: int) -> None:
        super().__init__(f"run {run_id}: epoch {epoch} is no longer the lease's")
        self.run_id, self.epoch = run_id, epoch


class NotStored(StreamError):
    """The database refuses this run's events for a reason that repeating does not mend; other runs go on."""

    permanent = True

    def __init__(self, run_id: UUID, why: str) -> None:
        super().__init__(f"run {run_id}: its events cannot be stored: {why}")
        self.run_id, self.why = run_id, why


class WireError(StreamError):
    """A known kind of frame lacks a field or breaks the provider's rules: the payload is kept, marked."""

    permanent = True


class SecretError(StreamError):
    """A sealed secret cannot be opened or made: the field key is missing or wrong."""

    permanent = True
