"""A provider that does not take its secret: said once, and nothing is sent until it has a new one."""

import logging

from streams import openings
from streams.folding import Held
from streams.offload import holding
from streams.reader import Reader

logger = logging.getLogger(__name__)


async def refused(held: Held, reader: Reader) -> None:
    """Note that the provider answered 401 or 403."""
    if await holding.run(openings.refuse_credential, held.provider_id, sealed=held.secret_sealed):
        logger.error("provider %s: it refuses our credential; nothing is sent until it has a new one", held.provider_id)
        await reader.say("credential", "The provider refuses our credential. A new one is needed to go on.")
