import torch
from tests.catastrophe.tails import halfspace

from outsample.catastrophe.samplers.streams import normals, stream

CPU = torch.device("cpu")


def test_streams_differ_by_tag_and_seed_and_from_plain_generators() -> None:
    problem, _ = halfspace(1.0)
    drawn = [normals(4, problem, stream(tag, seed, CPU)) for tag in "ab" for seed in (0, 1)]
    drawn += [normals(4, problem, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert len({tuple(rows.flatten().tolist()) for rows in drawn}) == 6
    assert torch.equal(normals(4, problem, stream("a", 0, CPU)), drawn[0])


def test_normals_are_standard() -> None:
    problem, _ = halfspace(1.0)
    z = normals(100_000, problem, stream("a", 3, CPU))
    torch.testing.assert_close(z.mean(0), torch.zeros(8).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.eye(8).double(), atol=0.03, rtol=0)
