"""The settings that rules depend on, as one frozen value, so that `decide` is a pure function."""

from datetime import timedelta

from domain.values import Struct
from domain.work import Limits


class Policy(Struct, frozen=True, kw_only=True):
    """An operator's settings of the rules.

    Attributes:
        platforms: Accepted `spec.platform.type`, lower case; holds `*` when any is accepted.
        require_release: Whether `release.version` and `release.channelGroup` are required after defaults.
        default_version, default_channel_group: Filled into a spec that leaves them empty.
        secret_key_ids: The ids of this deployment's keys for secrets; empty if none is known.
        privileged_domain: Addresses of exactly this domain belong to controllers and operators.
        grace_period: How long controllers may take before a cluster without a ready one has failed.
        activity_window: A report younger than this shows that its controller still works.
        attention_age: A cluster younger than this is reconciled at the attention interval.
        attention_interval, stable_interval: Time between two scheduled reconciles.
        reconcile_cap: The maximum of scheduled reconcile events per tick and partition; the rest remain due.
        delete_retention: How long a deleted cluster's state is kept before its tombstone.
        reconcile_enabled: Whether reconciles are scheduled at all; status time-outs always are.
        adaptive: Whether attention counts; if not, every cluster uses `default_interval`.
        reactive: Whether a change is announced to controllers at once, beside the schedule.
        reactive_debounce: The shortest time between two announcements of one kind of change to one cluster.
        reactive_limit: Announcements of changes per cluster and minute.
        resource_statuses: The possible statuses of a resource; a new resource has the first.
        task_limits: How long and how often tasks are tried.
        task_retention: How long an ended task is kept in memory; its row stays.
        job_limits: How long and how often jobs are tried.
        job_retention: How long an ended job is kept in memory; its row stays.
        droplet_provisioning: How long a new droplet takes until it asks for its address.
        droplet_network: The network, in the form of a CIDR, that addresses of droplets are from.
        autoscale_interval: Time between two evaluations of a cluster's policies; none for never.
        autoscale_cooldown: The shortest time between two of a cluster's scalings by policies.
        autoscale_zone: The time zone of windows, by its name in the database of the IANA.
        reactive_change_types: The types among `spec`, `status` and `controller_status` that are announced.
    """

    platforms: frozenset[str] = frozenset({"gcp", "aws", "azure"})
    require_release: bool = False
    default_version: str = ""
    default_channel_group: str = ""
    secret_key_ids: frozenset[str] = frozenset()
    privileged_domain: str = "system.local"
    grace_period: timedelta = timedelta(minutes=30)
    activity_window: timedelta = timedelta(minutes=5)
    attention_age: timedelta = timedelta(hours=2)
    attention_interval: timedelta = timedelta(seconds=30)
    stable_interval: timedelta = timedelta(minutes=5)
    default_interval: timedelta = timedelta(minutes=5)
    reconcile_cap: int = 50
    delete_retention: timedelta = timedelta(days=7)
    reconcile_enabled: bool = True
    adaptive: bool = True
    resource_statuses: tuple[str, ...] = ("active", "inactive")
    task_limits: Limits = Limits()
    task_retention: timedelta = timedelta(days=7)
    job_limits: Limits = Limits(
        attempts=3,
        lease=timedelta(seconds=60),
        time=timedelta(minutes=10),
        factor=4.0,
        longest_pause=timedelta(seconds=16),
        jitter=0.0,
    )
    job_retention: timedelta = timedelta(days=7)
    droplet_provisioning: timedelta = timedelta(seconds=2)
    droplet_network: str = "10.128.0.0/16"
    autoscale_interval: timedelta = timedelta(seconds=30)
    autoscale_cooldown: timedelta = timedelta(seconds=60)
    autoscale_zone: str = "UTC"
    reactive: bool = False
    reactive_debounce: timedelta = timedelta(seconds=2)
    reactive_limit: int = 60
    reactive_change_types: frozenset[str] = frozenset({"spec", "status", "controller_status"})
