"""Which price applies to an actor's device, given its type, where its node is and how the node was bought."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from configs.errors import ConfigError
from configs.labels import INSTANCE_LABEL, INSTANCE_TYPE_LABEL, MARKET_LABEL, PROVIDER_LABEL, REGION_LABEL
from configs.prices import Catalog, Market, Where
from configs.settings import PriceSettings
from pipeline.billing.metering import Rate

MARKETS: Mapping[str, Market] = {"spot": "spot", "on-demand": "on_demand"}
"""Markets by the value of the label."""

Labels = Mapping[str, str]
"""Labels of a node, from Ray or its cloud."""
NO_LABELS: Labels = {}


@dataclass(frozen=True)
class Rates:
    """All that is known about prices before the device is known."""

    price: PriceSettings = field(default_factory=PriceSettings)
    cpus_per_actor: int = 1
    catalog: Catalog = field(default_factory=lambda: Catalog(prices=()))

    def num_devices(self, device: str) -> int:
        """Devices that an actor reserves: CPUs, or one GPU."""
        return self.cpus_per_actor if device == "cpu" else 1

    def of_cpu(self, labels: Labels) -> Rate:
        """Raises ConfigError if a label has a value without a price."""
        return self._at("cpu", self.cpus_per_actor, self.price.cpu_hour, labels)

    def of_gpu(self, name: str, labels: Labels) -> Rate:
        """The rate of a GPU; `name` as torch or Ray has it. Raises ConfigError if no price is known."""
        price = self.price
        if price.gpu_hour is not None:
            return self._at(name, 1, price.gpu_hour, labels)
        market, where = self.market(labels), self._where(labels)
        row = self.catalog.find(name, market, price.currency, where)
        hour, on_demand = row.gpu_hour(market), row.on_demand_gpu_hour
        assert hour is not None, "find gives rows that have a price on this market"
        return Rate(
            name,
            1,
            hour,
            price.currency,
            market=market,
            provider=row.provider or where.provider or "",
            region=where.region or row.region or "",
            instance_type=row.instance_type or where.instance_type or "",
            on_demand=on_demand,
            instance_id=labels.get(INSTANCE_LABEL, ""),
        )

    def check_gpu(self, name: str, labels: Labels) -> None:
        """The rate before there is an actor, which may know more about its place. Raises ConfigError if no price
        matches."""
        if self.price.gpu_hour is None:
            self.catalog.fitting(name, self.market(labels), self.price.currency, self._where(labels))

    def of_node(self) -> Rate | None:
        """The rate of a node that holds no actor; None if such nodes are not counted."""
        hour = self.price.node_hour
        return None if hour is None else Rate("node", 1, hour, self.price.currency)

    def market(self, labels: Labels) -> Market:
        """How the node was bought; on demand unless `price.market` or a label says otherwise."""
        if self.price.market != "auto":
            return self.price.market
        value = labels.get(MARKET_LABEL) or "on-demand"
        if value not in MARKETS:
            raise ConfigError(
                f"Ray label {MARKET_LABEL} = {value!r}: is none of {', '.join(MARKETS)}; "
                "set price.market=spot or price.market=on_demand"
            )
        return MARKETS[value]

    def _at(self, device_type: str, devices: int, hour: Decimal, labels: Labels) -> Rate:
        """A rate from a price in the settings."""
        where = self._where(labels)
        return Rate(
            device_type,
            devices,
            hour,
            self.price.currency,
            market=self.market(labels),
            provider=where.provider or "",
            region=where.region or "",
            instance_type=where.instance_type or "",
            instance_id=labels.get(INSTANCE_LABEL, ""),
        )

    def _where(self, labels: Labels) -> Where:
        """Where a node is; the settings take precedence over its labels."""
        price = self.price
        return Where(
            price.provider or labels.get(PROVIDER_LABEL),
            price.region or labels.get(REGION_LABEL),
            price.instance_type or labels.get(INSTANCE_TYPE_LABEL),
        )
