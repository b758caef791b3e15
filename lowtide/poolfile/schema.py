"""The pool file as pydantic models: every key of contract section 2 with its type, default and bounds.

Names, defaults and bounds of the keys that come from Determined are Determined's (its master configuration reference);
the rest are Lowtide's own. What a key does is docs/pools.md; which keys have no meaning here is `IGNORED`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lambdas import names
from lambdas.domain.durations import parse_duration
from lambdas.domain.pools.cron import next_start, parse_cron
from lambdas.domain.pools.schedules import LONGEST, zone_of

PRICE_FLOOR = Decimal("0.001")
"""EC2 refuses a MaxPrice that is not above this (InvalidParameterValue)."""

RESERVED_TAGS = ("aws:", "lowtide:")
MOST_TAGS = 45
"""EC2 takes 50 of a resource; Lowtide sets three, and EC2 Fleet adds one of its own."""
MOST_PERCENT = 1000
"""Of the on-demand price. EC2 takes a MaxPrice up to ten times the on-demand price (MaxSpotPriceTooHigh beyond)."""

SpotStrategy = Literal[
    "price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "diversified", "lowest-price"
]
"""As EC2 Fleet names them for spot."""

IGNORED_PROVIDER = frozenset(
    {
        *("master_url", "master_cert_name", "agent_docker_image", "agent_docker_network", "agent_docker_runtime"),
        *("agent_reconnect_attempts", "agent_reconnect_backoff", "agent_config_file_contents", "agent_fluent_image"),
        *("log_group", "log_stream", "use_cloud_logging"),
    }
)
"""Determined's keys of `provider` that speak of its master and agents: accepted, reported once, without effect."""

IGNORED_POOL = frozenset(
    {"scheduler", "agent_reattach_enabled", "agent_reconnect_wait", "task_container_defaults", "kubernetes_namespace"}
)
IGNORED_TOP = frozenset(
    {
        *(
            "resource_manager",
            "db",
            "port",
            "security",
            "task_container_defaults",
            "checkpoint_storage",
            "log",
            "telemetry",
        ),
        *(
            "logging",
            "config_file",
            "root",
            "enable_cors",
            "cluster_name",
            "webhooks",
            "scim",
            "observability",
            "cache",
        ),
        *("additional_resource_managers", "retention_policy", "ui_customization", "tensorboard_timeout"),
        *("notebook_timeout", "launch_error", "feature_switches", "reserved_ports", "saml", "oidc", "det_cloud"),
        *("integrations", "__internal", "hasura"),
    }
)

_OWN_TEMPLATE = (
    "launch templates of your own are not; say what it holds with image_id, custom_tags, startup_script, ..."
)
UNSUPPORTED_PROVIDER = {
    **dict.fromkeys(("launch_template", "launch_template_id", "launch_template_name"), _OWN_TEMPLATE),
    "regions": "a pool is in the stack's Region; deploy a stack in each Region",
}
"""Keys that somebody may look for, and why there are none."""

OLD_AUX = "max_cpu_containers_per_agent"
"""Determined's older name of `max_aux_containers_per_agent`; where both are given it wins, as there."""
TAG_KEY = "managed_by"
"""Determined's default of `tag_key`, for a `tag_value` that is given alone."""


def _duration(value: Any) -> Any:
    """A Go duration (`90s`, `1h30m`) as a timedelta, as jobs are given them: none is negative, none above a year."""
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError("is not a duration of at most a year; write one as 90s, 20m or 1h30m") from error


def _never(value: Any) -> Any:
    return None if value == "never" else _duration(value)


def _price(value: Any) -> Any:
    """USD per instance-hour as a Decimal (a number's shortest text, so 0.35 is 0.35), or `NN%` as it stands."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("is not a price; write US dollars per instance-hour, for example 0.35")
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?%", text):
        if not 0 < Decimal(text[:-1]) <= MOST_PERCENT:
            raise ValueError(
                f"is out of bounds; a share of the on-demand price is above 0% and at most {MOST_PERCENT}%"
            )
        return text
    if not re.fullmatch(r"\d*\.?\d+|\d+\.", text):
        raise ValueError("is not a price; write US dollars per instance-hour, for example 0.35 (no sign, no currency)")
    price = Decimal(text)
    if price <= PRICE_FLOOR:
        raise ValueError(f"is too low; EC2 takes only prices above ${PRICE_FLOOR} an hour")
    return price


SHORTEST_LIFETIME = timedelta(minutes=10)

Duration = Annotated[timedelta, BeforeValidator(_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(_never)]
Price = Annotated[Decimal | str, BeforeValidator(_price)]
Money = Annotated[Decimal, Field(gt=0)]
InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
Count = Annotated[int, Field(ge=0, le=100_000, strict=True)]


class _Strict(BaseModel):
    """Unknown keys are found by load.py, which can say which known key is nearest; here they are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)


_EMPTY_IS_UNSET = frozenset(
    {
        *("region", "image_id", "ssh_key_name", "iam_instance_profile_arn", "subnet_id", "security_group_id"),
        *("spot_max_price", "tag_value", "startup_script", "container_startup_script"),
    }
)


class _Determined(_Strict):
    """An empty text is the same as none, as in Determined, whose generated files hold such."""

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        told: Mapping[Any, Any] = value
        return {key: each for key, each in told.items() if each != "" or key not in _EMPTY_IS_UNSET}


class NetworkInterface(_Determined):
    public_ip: bool = True
    subnet_id: str | None = Field(default=None, pattern=r"^subnet-[0-9a-z]+$")
    security_group_id: str | None = Field(default=None, pattern=r"^sg-[0-9a-z]+$")


class CustomTag(_Strict):
    key: str = Field(min_length=1, max_length=128)
    value: str = Field(max_length=256)


class OnDemandFallback(_Strict):
    after: DurationOrNever = None
    after_interruptions: Annotated[int, Field(ge=1, le=100_000, strict=True)] | Literal["never"] = "never"
    max_instances: Count = 2
    return_after: Duration = timedelta(minutes=30)


class Schedule(_Strict):
    name: str = Field(min_length=1)
    start: str
    duration: Duration
    timezone: str = "UTC"
    min_instances: Count | None = None
    max_instances: Count | None = None
    spot_max_price: Price | None = None

    @field_validator("start")
    @classmethod
    def _start(cls, text: str) -> str:
        cron = parse_cron(text)
        if next_start(cron, ZoneInfo("UTC"), datetime.now(UTC)) is None:
            raise ValueError("never comes: no day of the calendar is like that")
        return text

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, name: str) -> str:
        try:
            zone_of(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("is not an IANA time zone; write one like Europe/Berlin or America/New_York") from error
        return name

    @model_validator(mode="after")
    def _bounded(self) -> "Schedule":
        if not timedelta(0) < self.duration <= LONGEST:
            raise ValueError(f"has duration {self.duration}; it must be above 0 and at most {LONGEST.days} days")
        if self.min_instances is None and self.max_instances is None and self.spot_max_price is None:
            raise ValueError("changes nothing; give min_instances, max_instances or spot_max_price")
        return self


class Provider(_Determined):
    type: Literal["aws"]
    region: str | None = None
    min_instances: Count = 0
    max_instances: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 5
    instance_type: InstanceType | None = None
    instance_types: Annotated[list[InstanceType], Field(min_length=1, max_length=60)] | None = None
    instance_slots: Annotated[int, Field(ge=0, le=1024, strict=True)] | None = None
    cpu_slots_allowed: bool | None = None
    spot: bool = False
    spot_max_price: Price | None = None
    image_id: str | None = Field(default=None, pattern=r"^ami-[0-9a-z]+$")
    root_volume_size: Annotated[int, Field(ge=100, le=65_536, strict=True)] = 200
    ssh_key_name: str | None = Field(default=None, min_length=1, max_length=255)
    iam_instance_profile_arn: str | None = Field(
        default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:instance-profile/.+$"
    )
    network_interface: NetworkInterface | None = None
    tag_key: str | None = Field(default=None, min_length=1, max_length=128)
    tag_value: str | None = Field(default=None, max_length=256)
    custom_tags: list[CustomTag] = []
    instance_name: str | None = Field(default=None, min_length=1, max_length=256)
    startup_script: str | None = None
    container_startup_script: str | None = None
    max_idle_agent_period: Duration = timedelta(minutes=20)
    max_agent_starting_period: Duration | None = None
    launch_error_timeout: Duration = timedelta(0)
    launch_error_retries: Count = 0
    subnet_ids: Annotated[list[Annotated[str, Field(pattern=r"^subnet-[0-9a-z]+$")]], Field(min_length=1)] | None = None
    allocation_strategy: SpotStrategy = "price-capacity-optimized"
    on_demand_fallback: OnDemandFallback | None = None
    on_demand_base: Count = 0
    schedules: list[Schedule] = []
    warm_instances: Count = 0
    max_hourly_cost: Money | None = None
    max_instance_lifetime: DurationOrNever = None
    unfulfilled_alarm_after: DurationOrNever = timedelta(minutes=10)
    starvation_after: Duration = timedelta(minutes=10)
    job_role_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    paused: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> "Provider":
        if (self.instance_type is None) == (self.instance_types is None):
            given = "both are given" if self.instance_type else "neither is given (Determined's default is g4dn.metal)"
            raise ValueError(f"takes instance_type or instance_types, one of the two; {given}")
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"has min_instances {self.min_instances} above max_instances {self.max_instances}; "
                "lower one or raise the other"
            )
        if self.instance_types and len(set(self.instance_types)) < len(self.instance_types):
            raise ValueError("names an instance type twice in instance_types; name each once")
        if self.subnet_ids and self.network_interface and self.network_interface.subnet_id:
            raise ValueError("takes subnet_ids or network_interface.subnet_id, not both")
        if (problem := self._wrong_tags() or self._wrong_scripts()) is not None:
            raise ValueError(problem)
        for key in ("on_demand_base", "on_demand_fallback"):
            if getattr(self, key) and not self.spot:
                raise ValueError(f"has {key} without spot: true; every instance of the pool is on-demand already")
        if len({each.name for each in self.schedules}) < len(self.schedules):
            raise ValueError("names two schedules alike; give each a name of its own")
        if not self.spot and any(each.spot_max_price is not None for each in self.schedules):
            raise ValueError("has a schedule with spot_max_price without spot: true; remove the price")
        for key in ("warm_instances", "on_demand_base"):
            if getattr(self, key) > self.max_instances:
                raise ValueError(f"has {key} {getattr(self, key)} above max_instances {self.max_instances}")
        if self.max_instance_lifetime is not None and self.max_instance_lifetime < SHORTEST_LIFETIME:
            raise ValueError("has max_instance_lifetime below 10m: instances would hardly live longer than they boot")
        for key in ("max_idle_agent_period", "max_agent_starting_period"):
            if (period := getattr(self, key)) is not None and period <= timedelta(0):
                raise ValueError(f"has {key} {period.total_seconds():g}s; it must be above 0")
        return self

    def types(self) -> list[str]:
        """The pool's instance types, in the owner's order."""
        return self.instance_types or [self.instance_type or ""]

    def tags(self) -> tuple[tuple[str, str], ...]:
        """`tag_key`/`tag_value`, then `custom_tags`."""
        own = [] if self.tag_key is self.tag_value is None else [(self.tag_key or TAG_KEY, self.tag_value or "")]
        return (*own, *((tag.key, tag.value) for tag in self.custom_tags))

    def _wrong_tags(self) -> str | None:
        given = [key for key, _ in self.tags()] + (["Name"] if self.instance_name is not None else [])
        if twice := next((key for key in given if given.count(key) > 1), None):
            where = "instance_name, tag_key and custom_tags"
            return f'sets the tag "{twice}" twice; EC2 takes each once, from {where} together'
        if taken := next((key for key in given if key.lower().startswith(RESERVED_TAGS)), None):
            return f'sets the tag "{taken}"; names that begin with aws: or lowtide: are taken'
        if len(given) > MOST_TAGS:
            return f"sets {len(given)} tags; EC2 takes 50, of which Lowtide sets {50 - MOST_TAGS}"
        return None

    def _wrong_scripts(self) -> str | None:
        texts = [text for text in (self.startup_script, self.container_startup_script) if text]
        size = sum(len(text.encode()) for text in texts)
        if size > names.STARTUP_SCRIPT_BYTES:
            return (
                f"has {size} bytes in startup_script and container_startup_script; of EC2's 16 KiB of user data they "
                f"may take {names.STARTUP_SCRIPT_BYTES}: fetch the rest from S3 in the script"
            )
        if any("\0" in text for text in texts):
            return "has a zero byte in a startup script; no shell takes it"
        return None

    def starting_period(self) -> timedelta:
        """20 minutes, 40 where a bare-metal type is among the pool's (they boot that long)."""
        if self.max_agent_starting_period is not None:
            return self.max_agent_starting_period
        metal = any(".metal" in name for name in self.types())
        return timedelta(minutes=40 if metal else 20)


class PoolEntry(_Strict):
    pool_name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    description: str = Field(default="", max_length=1024)
    max_aux_containers_per_agent: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 100
    provider: Provider

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and OLD_AUX in given:
            return {**given, "max_aux_containers_per_agent": given[OLD_AUX]}
        return given
