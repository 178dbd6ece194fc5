"""The path of a job on a cluster of this machine, from the catalogue to the report, with a node killed on the way.

python cluster/local/rehearsal.py [--short] [--folder /tmp/NAME] [--root ADDRESS] [--keep]

Brings up the cluster of cluster.py, submits each verb with `ray job submit --working-dir .` and the files in jobs/ as
they are, and ends with a table; exit code 0 if every step is ok. `--root` is where relative paths lie (HERBRAY_ROOT):
by default a folder that both nodes see, or the bucket: s3://herbray/run. `--short` ends after a training. Everything is
in a new folder, which is removed at the end unless a step failed or `--keep` is given.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import checks
import ray_nodes
from processes import StepFailed, free_ports, wait_for
from ray_nodes import Job, Ray

from cluster import NODE_CPUS, Cluster, bring_up, take_down

ENCODER: Final = "encoder={arch: mobilenet_v3_small, init: random, size: 32}"
HERBARIUM: Final = ("source.sheets=300", "source.size=48", "source.genera=8", "source.species=24")
SHARDS: Final = ("side=48", "bag=8", "file_rows=64", "splits={cap: null, species: 0.1, random: 0.2, validation: 0.25}")
TRAINING: Final = (
    *("objective={name: classifier}", ENCODER, "stream={batch: 8, window: 2}", "workers=2", "cpus_per_worker=1.5"),
    *("reports=4", "validate_rows=60", "out=runs/train/classifier"),
)
"""Workers of 1.5 CPUs: one on each node of two, so that the loss of a node is the loss of a worker."""

EPOCHS: Final = ("epochs=6", "checkpoints={seconds: null, windows: 4}")

SWEEP: Final = (
    *("scale=full", "trials=2", "concurrent=1", "train.objective={name: classifier}", f"train.{ENCODER}"),
    *("train.stream={batch: 8, window: 2}", "train.epochs=1", "train.workers=1", "train.validate_rows=60"),
    *("train.shards=runs/shards", "space={optimizer.lr: 'loguniform(1e-4, 1e-2)'}", "out=runs/tune/classifier"),
)
MODEL: Final = "models:/herbray-classifier"
SPLITS: Final = "splits=[random]"
SCORES: Final = ("tasks=[{name: identify, splits: [random], ranks: [genus]}]", "bootstrap.resamples=50")
NO_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")


class Rehearsal:
    """The steps, each a method that returns what it has seen in one line."""

    def __init__(self, folder: Path, root: str | None, short: bool) -> None:
        """See the module."""
        self.folder, self.short = folder, short
        self.root = root or str(folder / "shared")
        self.rows: list[tuple[str, str, float, str]] = []
        self._cluster: Cluster | None = None
        self.numbers: dict[str, int] = {}

    @property
    def cluster(self) -> Cluster:
        """The cluster, once it runs."""
        if self._cluster is None:
            raise StepFailed("the cluster does not run")
        return self._cluster

    @property
    def place(self) -> checks.Place:
        """Files under the root."""
        return checks.Place(self.root, self.cluster.services)

    def run(self) -> bool:
        """All steps; those after a failed one are tried, too, because a job says itself what it lacks."""
        try:
            if self._step("up", self._up):
                for name, act in (self._short_steps() if self.short else self._steps()).items():
                    self._step(name, act)
        finally:
            self._step("down", self._down)
        self._print_table()
        return all(verdict == "ok" for _, verdict, _, _ in self.rows)

    def _step(self, name: str, act: Callable[[], str]) -> bool:
        """One line with seconds; the cause of a failure below it."""
        began = time.monotonic()
        try:
            said, verdict = act(), "ok"
        except StepFailed as error:
            said, verdict = str(error), "failed"
        except Exception:
            said, verdict = traceback.format_exc(), "failed"
        seconds = time.monotonic() - began
        print(f"{seconds:6.1f} s  {verdict:<6}  {name}: {said}", flush=True)
        self.rows.append((name, verdict, seconds, said.partition("\n")[0]))
        return verdict == "ok"

    def _steps(self) -> dict[str, Callable[[], str]]:
        """Every step, in order."""
        return {
            "wrong credentials": lambda: checks.refusals(self.cluster),
            "catalogue": lambda: self._verb("catalogue", *HERBARIUM),
            "shard": lambda: self._verb("shard", *SHARDS),
            "train, node killed": self._train_and_kill,
            "stop and resume": self._stop_and_resume,
            "tune": lambda: self._verb("tune", *SWEEP, file="tune-triplet"),
            "embed": lambda: self._verb("embed", f"model={MODEL}@candidate", SPLITS),
            "evaluate": lambda: self._verb("evaluate", *SCORES),
            "train the best of the sweep": self._train_best,
            "embed the candidate": lambda: self._verb("embed", f"model={MODEL}@candidate", SPLITS),
            "promote": lambda: self._verb("promote", "model=herbray-classifier", "rule.bootstrap.resamples=50"),
            "report": lambda: self._verb("report", "runs=[runs/train/classifier]"),
            "pull by a job": self._pull_by_job,
            "pull without herbray": lambda: checks.pull_without_herbray(self.cluster, f"{MODEL}@champion"),
            "the same on local files": self._compare,
            "a cluster without the packages": self._run_on_bare,
            "GPUs that do not come": self._ask_for_gpus,
            "no secret in jobs": lambda: checks.find_secrets(self.cluster, NO_SECRETS),
        }

    def _short_steps(self) -> dict[str, Callable[[], str]]:
        """Bring up, one training, take down."""
        return {
            "catalogue": lambda: self._verb("catalogue", *HERBARIUM),
            "shard": lambda: self._verb("shard", *SHARDS),
            "train": lambda: self._verb("train", *TRAINING, "epochs=1"),
        }

    def _up(self) -> str:
        self._cluster = bring_up(self.folder, say=lambda line: print(f"            {line}", flush=True))
        if not self.root.startswith("s3://"):
            Path(self.root).mkdir()
        return f"relative paths lie in {self.root}"

    def _submit(self, verb: str, *words: str, file: str | None = None, **more: str) -> Job:
        """Submit `jobs/VERB.py jobs/FILE.yaml WORDS`; secrets are in the environment of the nodes, not in the job."""
        services = self.cluster.services
        variables = {"HERBRAY_ROOT": self.root, "HERBRAY_OFFLINE": "1"}
        if services is not None:
            variables["MLFLOW_TRACKING_URI"] = services.tracking
        self.numbers[verb] = self.numbers.get(verb, 0) + 1
        entry = ["python", f"jobs/{verb}.py", file or f"jobs/{verb}.yaml", *words]
        return ray_nodes.submit(self.cluster.ray, f"{verb}-{self.numbers[verb]}", entry, {"env_vars": variables | more})

    def _verb(self, verb: str, *words: str, file: str | None = None) -> str:
        return self._submit(verb, *words, file=file and f"jobs/{file}.yaml").wait()

    def _train_and_kill(self) -> str:
        """Kill the second node when the training has written a checkpoint; a new node takes its place."""
        job = self._submit("train", *TRAINING, *EPOCHS)
        self._wait_for_checkpoint("runs/train/classifier", job)
        killed = ray_nodes.kill_node(self.cluster.node)
        ray_nodes.start_node(self.cluster.ray, "ray-node-2", NODE_CPUS, 3)  # as an autoscaler would do
        said = job.wait()
        return f"{killed} processes of the second node killed, a new node joined; {said}"

    def _stop_and_resume(self) -> str:
        """`ray job stop` during a training, with a grace of a minute; the same command resumes."""
        words = (*TRAINING[:-1], "out=runs/train/stopped", "register_as=herbray-stopped", "epochs=40")
        words = (*words, "checkpoints={seconds: null}", "keep=last")
        job = self._submit("train", *words, RAY_JOB_STOP_WAIT_TIME_S="120")
        self._wait_for_rows("runs/train/stopped", 3, job)
        began = time.monotonic()
        ray_nodes.stop(job)
        wait_for("the stopped job", lambda: job.status == "STOPPED", 180)
        seconds = time.monotonic() - began
        wait_for("the end of its output", lambda: job.command.poll() is not None, 60)
        if "interrupted; the same command resumes" not in job.log.read_text():
            raise StepFailed(f"the stopped job did not end softly: {job.log}")
        written = checks.checkpoints(self.place, "runs/train/stopped")
        if not written:
            raise StepFailed("the stopped job has written no checkpoint")
        again = self._submit("train", *words, RAY_JOB_STOP_WAIT_TIME_S="120")
        self._wait_for_rows("runs/train/stopped", checks.count_rows(self.place, "runs/train/stopped") + 2, again)
        resumed = min(checks.checkpoints(self.place, "runs/train/stopped"))
        ray_nodes.stop(again)
        return (
            f"stopped in {seconds:.0f} s with a checkpoint at window {max(written)}; resumed (oldest kept: {resumed})"
        )

    def _train_best(self) -> str:
        best = self.place.read("runs/tune/classifier/best.yaml")
        (self.folder / "best.yaml").write_bytes(best)
        words = ("epochs=2", "workers=2", "seed=90", "out=runs/train/best", "validate_rows=60")
        return self._submit("train", *words, file=str(self.folder / "best.yaml")).wait()

    def _pull_by_job(self) -> str:
        """The champion comes from the registry: through the server, from a bucket that the job does not know."""
        source = checks.artifact_source(self.cluster, "herbray-classifier", "champion")
        if not source.startswith(("mlflow-artifacts:", "models:")):
            raise StepFailed(f"the model's files lie at {source}: clients would need keys of that store")
        embedded = self._verb("embed", f"model={MODEL}@champion", SPLITS, "out=runs/pulled")
        scored = self._verb("evaluate", *SCORES, "embeddings=[runs/pulled]", "out=runs/pulled.parquet")
        return f"{source.partition('/')[0]} {embedded}; {scored}"

    def _compare(self) -> str:
        """Repeat catalogue, shards, training and embedding on local files without a cluster, and compare bit by bit."""
        local = self.folder / "local"
        local.mkdir()
        steps = {"catalogue": HERBARIUM, "shard": SHARDS, "train": (*TRAINING, *EPOCHS)}
        return checks.same_on_local_files(self.place, checks.Place(str(local)), steps)

    def _ask_for_gpus(self) -> str:
        """A job that demands a GPU says so at its start, and ends with its cause."""
        job = self._submit("train", *TRAINING[:-1], "out=runs/train/cuda", "device=cuda", "patience_s=5")
        said = job.wait_for_failure()
        if "device=cuda: GPUs needed: 2, found after" not in said:
            raise StepFailed(f"another cause: {said}")
        return said

    def _run_on_bare(self) -> str:
        """A cluster whose Python has Ray alone: `uv` installs herbray from the job's folder, as the lock file says."""
        folder = self.folder / "bare"
        folder.mkdir()
        python = checks.make_bare_python(folder)
        ray = Ray(folder, secrets.token_hex(32), *free_ports(2), {}, python)
        ray_nodes.start_head(ray, NODE_CPUS, alone=True)
        here = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
        uv = {"packages": [f"-c {here}/requirements.lock", here], "uv_pip_install_options": ["--quiet"]}
        variables = {"HERBRAY_ROOT": str(folder)}
        entry = ["python", "jobs/catalogue.py", "jobs/catalogue.yaml", *HERBARIUM]
        ray_nodes.submit(ray, "bare-catalogue", entry, {"env_vars": variables, "uv": uv}).wait()
        entry = ["python", "jobs/shard.py", "jobs/shard.yaml", *SHARDS]
        said = ray_nodes.submit(ray, "bare-shard", entry, {"env_vars": variables, "uv": uv}).wait()
        return f"herbray came with the job; {said}"

    def _wait_for_checkpoint(self, out: str, job: Job) -> None:
        self._wait_in(job, f"a checkpoint of {out}", lambda: checks.checkpoints(self.place, out))

    def _wait_for_rows(self, out: str, count: int, job: Job) -> None:
        self._wait_in(job, f"{count} reports of {out}", lambda: checks.count_rows(self.place, out) >= count)

    def _wait_in(self, job: Job, what: str, look: Callable[[], Any]) -> None:
        def look_or_end() -> Any:  # noqa: ANN401
            if job.command.poll() is not None:
                raise StepFailed(f"{job.id} ended before {what}: {job.wait(1)}")
            return look()

        wait_for(what, look_or_end, 1800)

    def _down(self) -> str:
        return f"{take_down(self.folder)} processes have ended"

    def _print_table(self) -> None:
        print(f"\n{'step':<30}{'':<8}{'seconds':>8}")
        for name, verdict, seconds, _ in self.rows:
            print(f"{name:<30}{verdict:<8}{seconds:>8.1f}")
        print(f"{'':<38}{sum(row[2] for row in self.rows):>8.1f}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="end after catalogue, shard and train")
    parser.add_argument("--folder", type=Path, help="a new folder with a short path (default: in /tmp)")
    parser.add_argument(
        "--root", help="where relative paths lie: s3://herbray/PREFIX; default: a folder that both nodes see"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    given = parser.parse_args()
    folder = (given.folder or Path(tempfile.gettempdir()) / f"hbc-{time.time():.0f}").absolute()
    done = Rehearsal(folder, given.root, given.short).run()
    if done and not given.keep:
        shutil.rmtree(folder)
    else:
        print(f"logs of all processes and jobs: {folder / 'log'}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
