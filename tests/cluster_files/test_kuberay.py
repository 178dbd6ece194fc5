"""KubeRay's manifests: strictly valid, locked down, and each job's settings are ones that herbray accepts."""

import copy
import importlib
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from manifests import CLUSTER, find_faults

from herbray import cli, config

ROOT = CLUSTER.parent
KUBERAY = CLUSTER / "kuberay"
OVERLAYS = sorted(KUBERAY.glob("overlays/*"))
JOBS = sorted(KUBERAY.glob("jobs/*"))
VERBS = {"catalogue", "shard", "train", "tune", "embed", "evaluate", "promote", "report", "study"}


def pods(thing):
    """Every pod specification in an object."""
    if isinstance(thing, list):
        return [pod for part in thing for pod in pods(part)]
    if not isinstance(thing, dict):
        return []
    own = [thing["spec"]] if "containers" in (thing.get("spec") or {}) else []
    return own + [pod for part in thing.values() for pod in pods(part)]


def of_kind(things, kind):
    return [thing for thing in things if thing["kind"] == kind]


@pytest.fixture(scope="module")
def everything(render, tmp_path_factory):
    """Jobs on spot machines, with TLS and a queue: all components together, as a user's own overlay would list them."""
    own = tmp_path_factory.mktemp("own")
    path = Path(os.path.relpath(KUBERAY, own))
    components = [f"{path}/components/{name}" for name in ("spot", "tls", "jobs", "kueue")]
    own_overlay = {
        "resources": [f"{path}/base"],
        "components": components,
        "images": [{"name": "herbray", "newTag": "7"}],
    }
    (own / "kustomization.yaml").write_text(yaml.safe_dump(own_overlay))
    return render(own)


@pytest.mark.parametrize("folder", OVERLAYS + JOBS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_every_object_is_strictly_valid(render, folder):
    things = render(folder)
    assert len(things) >= (5 if folder in OVERLAYS else 5 + len(VERBS))
    assert [fault for thing in things for fault in find_faults(thing)] == []


def test_all_components_combine_and_stay_valid(everything):
    assert [fault for thing in everything for fault in find_faults(thing)] == []
    for job in of_kind(everything, "RayJob"):
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "herbray"
        assert job["spec"]["rayClusterSpec"]["tlsOptions"] == {"enabled": True}
        assert "cloud.google.com/gke-spot" in pods(job["spec"]["rayClusterSpec"])[2]["nodeSelector"]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("RayCluster", "spec.headGroupSpecs", {}),
        ("RayCluster", "spec.authOptions.mode", "tokens"),
        ("RayCluster", "spec.workerGroupSpecs.0.minReplicas", "one"),
        ("RayCluster", "spec.workerGroupSpecs.0.template.spec.containers.0.imagee", "herbray"),
        ("RayCluster", "spec.workerGroupSpecs.0.template.spec.tolerations", {"key": "a"}),
        ("RayCluster", "spec.gcsFaultToleranceOptions.redisPassword.valueFrom.secretRef", {}),
        ("RayJob", "spec.submissionMode", "K8SJobMode"),
        ("RayJob", "spec.deletionStrategy.deletionRules.0.condition.jobStatus", "DONE"),
        ("RayJob", "spec.rayClusterSpec.rayStartParams", {}),
        ("RayJob", "apiVersion", "ray.io/v1alpha1"),
        ("StatefulSet", "spec.template.spec.containers.0.securityContext.readOnlyRoot", True),
        ("NetworkPolicy", "spec.ingress.0.form", []),
    ],
)
def test_a_wrong_field_is_found(render, kind, path, value):
    thing = copy.deepcopy(of_kind(render(KUBERAY / "jobs/gpu"), kind)[0])
    assert find_faults(thing) == []
    *above, last = path.split(".")
    place = thing
    for step in above:
        place = place[int(step) if isinstance(place, list) else step]
    place[last] = value
    faults = find_faults(thing)
    assert faults, f"{path} = {value!r} is accepted"
    assert all(last in fault or str(value) in fault for fault in faults), faults


@pytest.mark.parametrize("gone", ["headGroupSpec", "workerGroupSpecs.0.template", "workerGroupSpecs.0.groupName"])
def test_a_missing_field_is_found(render, gone):
    thing = copy.deepcopy(of_kind(render(KUBERAY / "overlays/gpu"), "RayCluster")[0])
    *above, last = gone.split(".")
    place = thing["spec"]
    for step in above:
        place = place[int(step) if isinstance(place, list) else step]
    del place[last]
    assert last in "".join(find_faults(thing))


def test_every_pod_meets_the_restricted_standard_of_its_namespace(render, everything):
    things = [*render(KUBERAY / "jobs/dev"), *everything]
    assert of_kind(things, "Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    found = [pod for thing in things for pod in pods(thing)]
    assert len(found) > 2 * len(VERBS) * 3
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"], pod
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            check_locked(container["securityContext"])
            assert {"memory", "cpu"} <= container["resources"]["limits"].keys()
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for cluster in of_kind(things, "RayCluster"):
        check_locked(cluster["spec"]["autoscalerOptions"]["securityContext"])


def check_locked(context):
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_ray_can_write_where_it_must_on_a_read_only_root(render):
    for pod in pods(of_kind(render(KUBERAY / "overlays/gpu"), "RayCluster")):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
        assert "emptyDir" in mounts["/tmp"]
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        assert mounts["/data"]["persistentVolumeClaim"] == {"claimName": "herbray-data"}


def test_the_head_does_no_work_and_gpus_start_from_zero(render):
    cluster = of_kind(render(KUBERAY / "overlays/gpu"), "RayCluster")[0]["spec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    cpu, gpu = cluster["workerGroupSpecs"]
    assert (cpu["groupName"], gpu["groupName"], gpu["minReplicas"]) == ("cpu", "gpu", 0)
    assert pods(gpu)[0]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert [
        group["groupName"]
        for group in of_kind(render(KUBERAY / "overlays/cpu"), "RayCluster")[0]["spec"]["workerGroupSpecs"]
    ] == ["cpu"]


@pytest.mark.parametrize("overlay", ["gpu", "spot"])
def test_jobs_that_use_gpus_wait_for_them_or_find_them_and_no_other_job_pays_for_them(render, overlay):
    jobs = {job["metadata"]["name"]: job["spec"] for job in of_kind(render(KUBERAY / "jobs" / overlay), "RayJob")}
    pools = {name: spec["rayClusterSpec"]["workerGroupSpecs"][1] for name, spec in jobs.items()}
    assert {name for name, spec in jobs.items() if "device=cuda" in spec["entrypoint"]} == {"train", "tune", "embed"}
    assert {name: pool["minReplicas"] for name, pool in pools.items()} == {
        verb: 2 * (verb == "study") for verb in VERBS
    }
    assert {name for name, pool in pools.items() if pool["maxReplicas"] == 2} == {"train", "tune", "embed", "study"}


@pytest.mark.parametrize("folder", JOBS, ids=lambda folder: folder.name)
def test_each_job_runs_its_verb_with_settings_that_herbray_accepts(render, folder):
    jobs = {job["metadata"]["name"]: job["spec"] for job in of_kind(render(folder), "RayJob")}
    assert jobs.keys() == VERBS
    for verb, spec in jobs.items():
        program, verb_of, file, *settings = shlex.split(spec["entrypoint"])
        assert (program, verb_of, Path(file).parent) == ("herbray", verb, Path("/opt/herbray/jobs"))
        module, kind, *_ = cli.VERBS[verb]
        spec = config.load(getattr(importlib.import_module(module), kind), ROOT / "jobs" / Path(file).name, settings)
        # A study and a sweep place what their parts write into their own outputs. The store is MLFLOW_TRACKING_URI.
        found = re.findall(r"(\w+)=\[?PosixPath\('([^']+)'\)", repr(spec))
        inputs = [
            place for name, place in found if name not in ("store", "out") and (verb != "study" or name == "path")
        ]
        outside = [place for place in [*inputs, str(getattr(spec, "out", "/data"))] if not place.startswith("/data")]
        assert (verb, outside) == (verb, [])


def test_the_operator_accepts_the_jobs(everything, render):
    """Rules of KubeRay 1.7.0 that its definitions do not contain (ray-operator/controllers/ray/utils/validation.go)."""
    for job in of_kind([*everything, *render(KUBERAY / "jobs/gpu")], "RayJob"):
        spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"])
        assert spec.get("shutdownAfterJobFinishes", False) is not ("deletionStrategy" in spec)
        for rule in spec.get("deletionStrategy", {}).get("deletionRules", []):
            assert rule["policy"] != "DeleteWorkers"  # not with an autoscaler
            assert len(rule["condition"].keys() & {"jobStatus", "jobDeploymentStatus"}) == 1
        for pod in pods(cluster):
            assert pod.get("restartPolicy", "Never") == "Never"  # autoscaler v2
        for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
            assert "labels" not in group["rayStartParams"]
        assert json.loads(spec["entrypointResources"]) == {"driver": 1}
        assert json.loads(json.loads(cluster["workerGroupSpecs"][0]["rayStartParams"]["resources"])) == {"driver": 8}


def test_ray_is_the_version_of_the_lock_file(render):
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)[1]
    for cluster in of_kind(render(KUBERAY / "overlays/gpu"), "RayCluster"):
        assert cluster["spec"]["rayVersion"] == locked
        assert cluster["spec"]["authOptions"] == {"mode": "token", "secretName": "herbray-ray-token"}


def test_one_setting_of_an_image_reaches_every_pod(everything):
    images = [container["image"] for thing in everything for pod in pods(thing) for container in pod["containers"]]
    assert set(images) == {"herbray:7", "herbray-gpu:0.1.0", "redis:7.2-alpine"}


def test_no_secret_is_in_a_file(everything):
    assert of_kind(everything, "Secret") == []
    for thing in everything:
        for pod in pods(thing):
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    assert "value" not in variable or "PASSWORD" not in variable["name"]
