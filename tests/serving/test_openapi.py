"""The OpenAPI document is complete and is the one committed under docs/."""

import json
from pathlib import Path

from serving.routes import ENDPOINTS, openapi

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_one_served():
    found = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert found == openapi(), "write it anew: python -m serving.routes > docs/openapi.json"


def test_every_endpoint_is_listed():
    paths = openapi()["paths"]
    for one in ENDPOINTS:
        assert one.method.lower() in paths[one.path]
    assert {"/livez", "/readyz", "/metrics"} < set(paths)


def test_every_reference_leads_somewhere():
    document = openapi()
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)


def test_requests_list_the_keys_that_are_taken():
    schemas = openapi()["components"]["schemas"]
    assert set(schemas["RecommendRequest"]["properties"]) == {
        "user_id",
        "n",
        "channel",
        "scenario",
        "explain",
        "request_id",
    }
    events = schemas["EventsRequest"]["properties"]["events"]["items"]
    assert set(events["required"]) == {"event_id", "user_id", "event", "at"}
