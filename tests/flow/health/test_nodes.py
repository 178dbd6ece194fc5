from pathlib import Path

from herbray.flow.health import nodes


def test_every_node_reads_the_nonce_and_nothing_is_left(cluster, tmp_path):
    found = list(nodes.storage(tmp_path, 60))
    assert [finding.status for finding in found] == ["ok"] * len(cluster.nodes())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_a_node_sees_otherwise_is_an_error(cluster, tmp_path, monkeypatch):
    """`/proc/self/cwd` is another folder in each process, as an unmounted path is on each node."""
    (tmp_path / "storage").mkdir()
    monkeypatch.chdir(tmp_path)
    found = list(nodes.storage(Path("/proc/self/cwd/storage"), 60))
    assert [finding.status for finding in found] == ["error"] * len(cluster.nodes())
    assert all("mount the same storage" in finding.remedy for finding in found)


def test_a_folder_that_is_missing_here_is_an_error(tmp_path):
    (finding,) = nodes.storage(tmp_path / "none", 1)
    assert finding.status == "error"


def test_a_file_with_other_content_is_not_ours(tmp_path):
    (tmp_path / "nonce").write_bytes(b"\xff\xfe")
    assert nodes.read_nonce(str(tmp_path / "nonce"))[1] == "not our file"
