"""The manifest of docs/cluster.md has KubeRay's published fields, with their types, and no others.

The fields are those of ``ray.io/v1`` (ray-operator/apis/ray/v1: rayjob_types.go, raycluster_types.go) and of Kubernetes'
core/v1 PodSpec, as far as the page uses them: an unknown field is refused as the API server does with strict validation.
"""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lexiseg.cli import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def of(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT, COUNT, TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
QUANTITY = {
    "anyOf": [{"type": "string", "pattern": "^[0-9.]+(m|Ki|Mi|Gi|Ti|k|M|G|T)?$"}, {"type": "integer"}]
}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = of(
    ("name", "image"),
    name=NAME,
    image=TEXT,
    command=list_of(TEXT),
    resources=of(limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=list_of(of(("name", "mountPath"), name=NAME, mountPath=TEXT, readOnly=TRUTH)),
)
VOLUME = of(("name",), name=NAME, persistentVolumeClaim=of(("claimName",), claimName=NAME, readOnly=TRUTH))
POD = of(("spec",), spec=of(("containers",), containers=list_of(CONTAINER), volumes=list_of(VOLUME)))
GROUP = {"rayStartParams": TEXTS, "template": POD}
MANIFEST = of(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=of(("name",), name=NAME, namespace=NAME, labels=TEXTS),
    spec=of(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        shutdownAfterJobFinishes=TRUTH,
        ttlSecondsAfterFinished=COUNT,
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        suspend=TRUTH,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        rayClusterSpec=of(
            ("headGroupSpec", "workerGroupSpecs"),
            rayVersion=TEXT,
            headGroupSpec=of(("rayStartParams", "template"), **GROUP),
            workerGroupSpecs=list_of(
                of(
                    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
                    groupName=NAME,
                    replicas=COUNT,
                    minReplicas=COUNT,
                    maxReplicas=COUNT,
                    numOfHosts=COUNT,
                    **GROUP,
                )
            ),
        ),
    ),
)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return yaml.safe_load(block)


def test_the_manifest_has_published_fields_and_a_command_of_ours(manifest):
    jsonschema.validate(manifest, MANIFEST)
    program, command, *_ = shlex.split(manifest["spec"]["entrypoint"])
    assert program == "lexiseg"
    assert command in COMMANDS
    for group in (
        manifest["spec"]["rayClusterSpec"]["headGroupSpec"],
        *manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (("spec",), {"rayCluster": {}}),
        (("spec",), {"shutdownAfterJobFinishes": "yes"}),
        (("spec", "rayClusterSpec", "headGroupSpec"), {"rayStartParams": {"num-cpus": 0}}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), {"replicas": "4"}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), {"groupName": "Workers"}),
    ],
)
def test_what_the_server_would_refuse_is_found(manifest, place, change):
    changed = copy.deepcopy(manifest)
    part: Any = changed
    for key in place:
        part = part[key]
    part |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, MANIFEST)
