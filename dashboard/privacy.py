"""Pages are private: no cache keeps an answer that does not say otherwise itself."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Answer = Callable[[HttpRequest], HttpResponseBase]
AsyncAnswer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def no_store(get_response: Answer | AsyncAnswer) -> Answer | AsyncAnswer:
    """Both ways, so that an asynchronous request does not change threads for a header."""
    if iscoroutinefunction(get_response):
        asked: AsyncAnswer = get_response

        async def later(request: HttpRequest) -> HttpResponseBase:
            return _private(await asked(request))

        return later

    answered: Answer = get_response  # type: ignore[assignment]

    def now(request: HttpRequest) -> HttpResponseBase:
        return _private(answered(request))

    return now


def _private(response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault("Cache-Control", "no-store, private")
    return response
