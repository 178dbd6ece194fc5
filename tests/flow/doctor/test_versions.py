import importlib.metadata
import platform

import pytest

from herbray.flow.doctor import versions


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Writes the metadata of a package as an installer would."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, requires=(), python=">=3.11", version="1.0"):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Requires-Python: {python}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return write


def test_this_environment_is_fit():
    found = [*versions.check_python(), *versions.check_packages(), *versions.check_pair()]
    assert {finding.status for finding in found} == {"ok"}
    assert {"python", "ray", "mlflow", "torch", "torchvision", "packages"} <= {finding.check for finding in found}


def test_a_package_outside_its_range_and_one_that_is_missing_are_errors(distribution):
    numpy = importlib.metadata.version("numpy")
    distribution("odd", ["numpy<1", "no-such-package-anywhere>=2", "pyarrow", "tzdata>=999; python_version < '3'"])
    found = {finding.check: finding for finding in versions.check_packages("odd")}
    assert found["numpy"].status == "error"
    assert f"{numpy}, wanted <1" in found["numpy"].found
    assert found["no-such-package-anywhere"].found == "not installed, wanted >=2"
    assert "requirements.lock" in found["numpy"].remedy
    assert found["packages"].found.startswith("1 ")
    assert "tzdata" not in found


def test_a_python_that_is_too_old_is_an_error(distribution):
    distribution("modern", python=">=3.99")
    (finding,) = versions.check_python("modern")
    assert finding.status == "error"
    assert platform.python_version() in finding.found


@pytest.mark.parametrize(("version", "status"), [("2.15.0", "ok"), ("2.15.0+cu128", "ok"), ("2.14.1", "error")])
def test_two_packages_must_be_built_for_each_other(distribution, version, status):
    distribution("visionlike", ["torchlike==2.15.0", "numpy"])
    distribution("torchlike", version=version)
    (finding,) = versions.check_pair("visionlike", "torchlike")
    assert finding.status == status
    assert bool(finding.remedy) == (status == "error")


def test_a_missing_half_of_a_pair_is_an_error():
    (finding,) = versions.check_pair("no-such-package-anywhere", "numpy")
    assert finding.status == "error"
