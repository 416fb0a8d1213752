"""The pydantic converter of Temporal's contrib package: the default one, with options."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from durable.contrib.pydantic import PydanticPayloadConverter, ToJsonOptions, pydantic_data_converter
from durable.converter import DataConverter


class Order(BaseModel):
    id: int
    note: str = "none"


def test_models_are_written_and_read() -> None:
    payloads = pydantic_data_converter.to_payloads([Order(id=1), None, b"x"])
    assert [payload.metadata["encoding"] for payload in payloads] == [b"json/plain", b"binary/null", b"binary/plain"]
    assert pydantic_data_converter.from_payloads(payloads, [Order, None, bytes]) == [Order(id=1), None, b"x"]
    assert payloads == DataConverter.default.to_payloads([Order(id=1), None, b"x"])


def test_fields_that_were_not_given_can_be_left_out() -> None:
    converter = PydanticPayloadConverter(ToJsonOptions(exclude_unset=True))
    (payload,) = converter.to_payloads([Order(id=1)])
    assert payload.data == b'{"id":1}'
    assert converter.from_payloads([payload], [Order]) == [Order(id=1)]


def test_a_cache_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_cached_type_adapters is 0 or more"):
        PydanticPayloadConverter(max_cached_type_adapters=-1)
