"""BentoML services that do nothing, to tell what an answer costs before any work.

bentoml serve benchmarks.serving.noop:Noop
bentoml serve benchmarks.serving.noop:LeanNoop
"""

import bentoml
import orjson
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Offer(BaseModel):
    service_id: str
    score: float
    reason: str


class Offers(BaseModel):
    user_id: str
    offers: list[Offer]


ANSWER = Offers(
    user_id="u",
    offers=[Offer(service_id=f"S{rank}", score=0.5 - 0.01 * rank, reason="") for rank in range(5)],
)
_OFFERS = ANSWER.model_dump()["offers"]


@bentoml.service(workers=1)
class Noop:
    """As a tutorial writes it, but asynchronous, which costs half as much as a plain function."""

    @bentoml.api
    async def recommend(self, user_id: str, n: int = 5) -> Offers:
        return ANSWER


async def recommend(request: Request) -> Response:
    asked = orjson.loads(await request.body())
    answer = orjson.dumps({"user_id": asked["user_id"], "offers": _OFFERS})
    return Response(answer, media_type="application/json")


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(Starlette(routes=[Route("/recommend", recommend, methods=["POST"])]), path="/lean")
class LeanNoop:
    """Whatever can be left out is; a mounted route in place of an API of BentoML's."""
