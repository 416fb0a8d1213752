"""Types that JSON does not know: an encoder writes them and a JSONTypeConverter reads them, or they become bytes.

    python samples/custom_converter.py

hands temperatures, which come from a library that knows nothing of JSON, and a curve, which would be large as JSON, to
a workflow and back.
"""

import asyncio
import dataclasses
import uuid
from array import array
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durable import activity, workflow
from durable.api.common.v1 import Payload
from durable.client import Client
from durable.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
)
from durable.worker import Worker

TASK_QUEUE = "weather"


class Temperature:
    """Somebody else's class: neither a dataclass nor a model, and not to be changed."""

    def __init__(self, kelvin: float) -> None:
        self.kelvin = kelvin

    @property
    def celsius(self) -> float:
        return round(self.kelvin - 273.15, 2)


class Encoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        return {"kelvin": o.kelvin} if isinstance(o, Temperature) else super().default(o)


class Temperatures(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any:
        return Temperature(value["kelvin"]) if hint is Temperature else JSONTypeConverter.Unhandled


class Curves(EncodingPayloadConverter):
    """Arrays of floats as the bytes that they are: eight for each."""

    @property
    def encoding(self) -> str:
        return "binary/floats"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, array) or value.typecode != "d":
            return None  # the next converter may want it
        return Payload(metadata={"encoding": self.encoding.encode()}, data=value.tobytes())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return array("d", payload.data)


class WeatherPayloadConverter(CompositePayloadConverter):
    """The first that takes a value writes it, so the special ones go first; JSON takes the rest."""

    def __init__(self) -> None:
        json = JSONPlainPayloadConverter(encoder=Encoder, custom_type_converters=[Temperatures()])
        defaults = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(Curves(), *(json if each.encoding == json.encoding else each for each in defaults))


data_converter = dataclasses.replace(DataConverter.default, payload_converter_class=WeatherPayloadConverter)


@dataclass
class Day:
    town: str
    extremes: dict[str, Temperature]


@activity.defn
async def measure(day: Day) -> array:  # type: ignore[type-arg]
    low, high = day.extremes["low"].celsius, day.extremes["high"].celsius
    return array("d", [low + (high - low) * hour / 4 for hour in range(5)])


@workflow.defn
class Forecast:
    @workflow.run
    async def run(self, days: list[Day]) -> Day:
        warmest = max(days, key=lambda day: day.extremes["high"].celsius)
        curve = await workflow.execute_activity(measure, warmest, start_to_close_timeout=timedelta(seconds=10))
        return Day(warmest.town, {**warmest.extremes, "mean": Temperature(sum(curve) / len(curve) + 273.15)})


async def main() -> None:
    async with await Client.connect(data_converter=data_converter) as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Forecast], activities=[measure]):
            days = [
                Day("Oslo", {"low": Temperature(263.15), "high": Temperature(271.15)}),
                Day("Rome", {"low": Temperature(281.15), "high": Temperature(289.15)}),
            ]
            day = await client.execute_workflow(
                Forecast.run, days, id=f"forecast-{uuid.uuid4().hex[:8]}", task_queue=TASK_QUEUE
            )
            print(day.town, {name: temperature.celsius for name, temperature in day.extremes.items()})


if __name__ == "__main__":
    asyncio.run(main())
