"""Requests made from `/openapi.json`, fitting and unfitting, against a running server.

`python -m tests.descriptions.fuzz --cases 2000` starts a deployment of its own and says what it found. A run
is repeated by its seed, but for the ids that the server chooses.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.product import CONTROLLER, Deployment

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OWNER = "fuzz@example.com"


@dataclass
class Findings:
    """What a run saw."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.cases.total()


@dataclass
class Fuzzer:
    """Sends cases and checks their answers; knows what is there by collection, lest all ids be unknown."""

    url: str
    chance: random.Random
    findings: Findings = field(default_factory=Findings)
    known: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    session: requests.Session = field(default_factory=requests.Session)

    def send(self, case: Case, *emails: str | None) -> None:
        """Send a case as one of these, or as any, and check its answer."""
        self._adapt(case)
        email = self.chance.choice(emails or (*[OWNER] * 5, *[CONTROLLER] * 4, "other@example.com", None))
        headers = {} if email is None else {"X-User-Email": email}
        response = case.call(base_url=self.url, session=self.session, headers=headers, timeout=30)
        self.findings.cases[case.operation.label] += 1
        self.findings.statuses[response.status_code] += 1
        known = self.known[_collection(case.operation.path)]
        if response.status_code == 201:
            known.append(_id_in(response.json()))
        gone = (case.path_parameters or {}).get("id") if response.status_code in (200, 202, 204) else None
        if gone in known and len(known) > 1 and case.operation.label.startswith("DELETE"):
            known.remove(gone)
        wrong = _body_is_wrong(case) and response.status_code != 413  # refused by its size
        checks = CHECKS + ([negative_data_rejection] if wrong else [])
        try:
            case.validate_response(response, checks=checks)
        except FailureGroup as failures:
            self.findings.violations += [
                f"{case.operation.label}: {failure}" for failure in failures.exceptions
            ]

    def _adapt(self, case: Case) -> None:
        known = self.known[_collection(case.operation.path)]
        if known and "id" in (case.path_parameters or {}) and self.chance.random() < 0.8:
            case.path_parameters["id"] = self.chance.choice(known)
        if "true" in str((case.query or {}).get("watch", "")).lower():
            del case.query["watch"]  # an answer without end; the feed has tests of its own


def _collection(path: str) -> str:
    """The collection that a path is in, under whatever mount."""
    return path.partition("/{id}")[0].rpartition("/")[2]


def _id_in(created: dict[str, Any]) -> str:
    """The id of what was created, which may be wrapped."""
    wrapped = [inner for inner in created.values() if isinstance(inner, dict) and "id" in inner]
    return str(created["id"] if "id" in created else wrapped[0]["id"])


def _body_is_wrong(case: Case) -> bool:
    """Queries are lenient by contract, and a request id of another form is replaced; bodies are refused."""
    assert case.meta is not None
    return any(where == "body" and part.mode.is_negative for where, part in case.meta.components.items())


def fuzz(url: str, *, cases: int, seed_: int, document: dict[str, Any] | None = None) -> Findings:
    """Send what covers all bounds, and at least this many random cases, spread over all operations.

    Args:
        document: Whose operations these are; by default the server's own.
    """
    document = document or requests.get(f"{url}/openapi.json", timeout=30).json()
    operations = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
    fuzzer = Fuzzer(url, random.Random(seed_))
    for _ in range(5):
        body = {"name": f"known-{uuid4()}", "spec": {"platform": {"type": "gcp"}}}
        made = requests.post(f"{url}/api/v1/clusters", json=body, headers={"X-User-Email": OWNER}, timeout=30)
        fuzzer.known["clusters"].append(made.json()["id"])
    for operation in operations:
        _cover(fuzzer, operation)
    cases += fuzzer.findings.total
    weights = {operation: _weight(operation) for operation in operations}
    for round_ in range(20):  # a strategy may run out of cases before it has made as many as it may
        missing = cases - fuzzer.findings.total
        if missing <= 0:
            break
        total = sum(weights.values())
        for number, operation in enumerate(operations):
            share = -(-missing * weights[operation] // total)
            _run(fuzzer, operation, share, seed_ * 1000 + round_ * 100 + number)
    return fuzzer.findings


def _cover(fuzzer: Fuzzer, operation: Any) -> None:
    """Every bound of every member once, on either side: what random cases seldom meet."""
    configured = operation.schema.config.generation_for(operation=operation)
    for case in operation.schema.iter_coverage_cases(
        operation, generation_modes=list(GenerationMode), generation_config=configured
    ):
        fuzzer.send(case, CONTROLLER)  # who may do everything, so that nothing but the case is at fault


def _weight(operation: Any) -> int:
    clusters = operation.path.startswith("/api/v1/clusters")
    return {"POST": 8, "PUT": 8, "DELETE": 3}.get(operation.method.upper(), 5 if clusters else 1)


def _run(fuzzer: Fuzzer, operation: Any, cases: int, seed_: int) -> None:
    modes = (
        [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
        if _takes_input(operation)
        else [GenerationMode.POSITIVE]
    )
    for mode in modes:

        @seed(seed_)
        @settings(
            max_examples=max(1, cases // len(modes)),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            fuzzer.send(case)

        send()


def _takes_input(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


async def _measured(cases: int, seed_: int) -> Findings:
    from deploy.embedded import Stack
    from tests.conftest import Servers

    with tempfile.TemporaryDirectory() as directory, Stack(Path(directory)) as stack:
        servers = Servers(stack.kafka.bootstrap_servers, stack.postgres.url, stack.valkey.url)
        async with Deployment(await servers.new_topics()) as deployment:
            await deployment.worker()
            client = await deployment.web()
            return await asyncio.to_thread(fuzz, client.url, cases=cases, seed_=seed_)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    # Hypothesis takes the threads of a running worker, which use `random`, for strategies that do.
    warnings.filterwarnings("ignore", "Do not use the `random` module")
    started = time.monotonic()
    findings = asyncio.run(_measured(chosen.cases, chosen.seed))
    for operation, count in sorted(findings.cases.items()):
        print(f"{count:6}  {operation}")
    print("statuses:", ", ".join(f"{status}: {count}" for status, count in sorted(findings.statuses.items())))
    for violation in dict.fromkeys(findings.violations):
        print("VIOLATION", violation)
    seconds = time.monotonic() - started
    print(
        f"{findings.total} cases, {len(findings.violations)} violations, seed {chosen.seed}, {seconds:.0f} s"
    )
    return 1 if findings.violations or findings.total < chosen.cases else 0


if __name__ == "__main__":
    sys.exit(main())
