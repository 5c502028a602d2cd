"""The way of one cluster: created, reported, updated, deleted; each step told to everyone."""

from tests.e2e.product import available


async def test_a_cluster_lives_and_dies(api, product):
    cluster = await api.created("smoke")
    assert (1, "Pending") == (cluster["generation"], cluster["status"]["phase"])

    reported = await api.report(cluster["id"], conditions=available())
    assert (200, True) == (reported.status, reported["applied"])
    assert "Ready" == (await api.get(cluster["id"]))["status"]["phase"]

    updated = await api.update(cluster["id"], {"platform": {"type": "aws"}})
    assert (200, 2, "Pending") == (updated.status, updated["generation"], updated["status"]["phase"])

    assert 409 == (await api.delete(cluster["id"])).status
    assert 202 == (await api.delete(cluster["id"], force=True)).status
    assert 404 == (await api.get(cluster["id"])).status

    events = await product.log("cluster-events").bodies(cluster["id"])
    assert [("cluster.created", 1), ("cluster.updated", 2), ("cluster.deleted", 2)] == [
        (event["type"], event["generation"]) for event in events
    ]
