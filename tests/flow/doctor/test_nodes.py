from pathlib import Path

from herbray.flow.doctor import nodes


def by_kind(findings):
    kinds = {}
    for finding in findings:
        kinds.setdefault(finding.check.split(" on ")[0], []).append(finding)
    return kinds


def test_every_node_is_checked_and_no_file_is_left(cluster, tmp_path):
    found = by_kind(nodes.check_nodes(tmp_path, 60, 0, 0))
    count = len(cluster.nodes())
    assert {kind: [each.status for each in part] for kind, part in found.items()} == {
        kind: ["ok"] * count for kind in ("storage", "versions", "disk", "shared memory")
    }
    assert f"ray {cluster.__version__}" in found["versions"][0].found
    assert not list(tmp_path.iterdir())


def test_a_node_without_space_or_with_other_versions_is_named(cluster, tmp_path, monkeypatch):
    here = nodes.installed_versions()
    monkeypatch.setattr(nodes, "installed_versions", lambda: here | {"torch": "1.0", "python": "3.8.1"})
    found = by_kind(nodes.check_nodes(tmp_path, 60, 1e9, 1e9))
    address = cluster.nodes()[0]["NodeManagerAddress"]
    assert (found["disk"][0].status, found["disk"][0].check) == ("error", f"disk on {address}")
    assert found["shared memory"][0].status == "warning"
    odd = found["versions"][0]
    assert (odd.status, odd.check) == ("error", f"versions on {address}")
    assert f"python {here['python']}, here 3.8.1; torch {here['torch']}, here 1.0" in odd.found


def test_a_folder_that_differs_on_a_node_is_an_error(cluster, tmp_path, monkeypatch):
    """`/proc/self/cwd` is another folder in each process, as an unmounted path is on each node."""
    (tmp_path / "storage").mkdir()
    monkeypatch.chdir(tmp_path)
    found = by_kind(nodes.check_nodes(Path("/proc/self/cwd/storage"), 60, 0, 0))["storage"]
    assert [finding.status for finding in found] == ["error"] * len(cluster.nodes())
    assert all("mount the same storage" in finding.remedy for finding in found)


def test_a_folder_that_is_missing_here_is_an_error(tmp_path):
    (finding,) = nodes.check_nodes(tmp_path / "none", 1, 0, 0)
    assert finding.status == "error"


def test_a_file_with_other_content_is_noticed(tmp_path):
    (tmp_path / "nonce").write_bytes(b"\xff\xfe")
    assert nodes.inspect_node(str(tmp_path / "nonce"), 0).nonce == "not the file that was written"
